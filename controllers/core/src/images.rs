//! Image.status and ClusterImage.status, from what the header said.

use crate::conditions::Verdict;
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::Quantity;
use kilonova_crds::condition::{is_true, types};
use kilonova_crds::v1alpha1::{ImageFormat, ImageSpec, ImageStatus};

/// What reading the header gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// It could be read and is harmless.
    Read {
        /// The format that it has.
        format: ImageFormat,
        /// Size of the disk that a guest sees, in bytes.
        virtual_size: u64,
    },
    /// The source could not be reached or read; it is tried again.
    Unreachable(String),
    /// The header is broken, or asks for what is refused (a backing file, an external data file).
    Refused(String),
}

/// The status; `header` is `None` until it was read once. A header that was read stays known while
/// the source cannot be reached.
#[must_use]
pub fn image_status(
    spec: &ImageSpec,
    generation: i64,
    previous: Option<&ImageStatus>,
    header: Option<&Header>,
    now: Timestamp,
) -> ImageStatus {
    let known = previous
        .filter(|p| is_true(&p.conditions, types::READY))
        .and_then(|p| p.virtual_size.clone());
    let (virtual_size, verdict) = match (header, known) {
        (
            Some(Header::Read {
                format,
                virtual_size,
            }),
            _,
        ) => read(spec.format, *format, *virtual_size),
        (Some(Header::Refused(why)), _) => (None, Verdict::stalled("HeaderRefused", why)),
        (_, Some(size)) => (Some(size), Verdict::ready(HEADER_READ)),
        (Some(Header::Unreachable(why)), None) => {
            (None, Verdict::not_ready("SourceUnreachable", why))
        }
        (None, None) => {
            let message = "its header was not read yet";
            (None, Verdict::unknown("Pending", message))
        }
    };
    ImageStatus {
        observed_generation: generation,
        virtual_size,
        conditions: verdict.conditions(previous.map(|s| s.conditions.as_slice()), now),
    }
}

const HEADER_READ: &str = "HeaderRead";

fn read(declared: ImageFormat, found: ImageFormat, size: u64) -> (Option<Quantity>, Verdict) {
    let name = |format| match format {
        ImageFormat::Qcow2 => "qcow2",
        ImageFormat::Raw => "raw",
    };
    if declared != found {
        let (declared, found) = (name(declared), name(found));
        let message = format!("spec.format says {declared}, the file is {found}");
        return (None, Verdict::stalled("FormatMismatch", message));
    }
    if size == 0 {
        return (
            None,
            Verdict::stalled("HeaderRefused", "the disk in it has no size"),
        );
    }
    (
        Some(Quantity::from_bytes(size)),
        Verdict::ready(HEADER_READ),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use kilonova_crds::condition::find;

    fn spec() -> ImageSpec {
        serde_json::from_value(serde_json::json!({
            "source": {"http": {"url": "http://x/y", "checksum": "sha256:00"}}, "format": "qcow2",
        }))
        .unwrap()
    }

    fn reason(header: &Header) -> (String, bool) {
        let status = image_status(&spec(), 1, None, Some(header), Timestamp::UNIX_EPOCH);
        assert_eq!(
            status.virtual_size.is_some(),
            is_true(&status.conditions, types::READY)
        );
        let ready = find(&status.conditions, types::READY).unwrap();
        (
            ready.reason.clone(),
            is_true(&status.conditions, types::STALLED),
        )
    }

    fn read(format: ImageFormat, virtual_size: u64) -> Header {
        Header::Read {
            format,
            virtual_size,
        }
    }

    #[test]
    fn each_header_has_its_reason() {
        for (header, want, stalled) in [
            (read(ImageFormat::Qcow2, 1), "HeaderRead", false),
            (read(ImageFormat::Qcow2, 0), "HeaderRefused", true),
            (read(ImageFormat::Raw, 1), "FormatMismatch", true),
            (
                Header::Refused("backing file".into()),
                "HeaderRefused",
                true,
            ),
            (
                Header::Unreachable("404".into()),
                "SourceUnreachable",
                false,
            ),
        ] {
            assert_eq!(reason(&header), (want.to_owned(), stalled), "{header:?}");
        }
    }

    #[test]
    fn a_source_that_goes_away_makes_no_image_unready() {
        let read = read(ImageFormat::Qcow2, 1 << 30);
        let first = image_status(&spec(), 1, None, Some(&read), Timestamp::UNIX_EPOCH);
        let later = Timestamp::from_second(9).unwrap();
        for header in [None, Some(&Header::Unreachable("timeout".into()))] {
            assert_eq!(image_status(&spec(), 1, Some(&first), header, later), first);
        }
    }
}
