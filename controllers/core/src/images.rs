//! Image.status and ClusterImage.status, from what the header said.

use k8s_openapi::jiff::Timestamp;
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

/// The status; `header` is `None` until it was read once.
#[must_use]
pub fn image_status(
    spec: &ImageSpec,
    generation: i64,
    previous: Option<&ImageStatus>,
    header: Option<&Header>,
    now: Timestamp,
) -> ImageStatus {
    let _ = (spec, generation, previous, header, now);
    todo!()
}
