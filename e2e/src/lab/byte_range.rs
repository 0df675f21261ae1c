//! The `Range` header of HTTP (RFC 9110, 14.2), as far as it names one range of bytes.

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteRange {
    /// Its first byte.
    pub(super) first: u64,
    /// How many; at least one.
    pub(super) length: u64,
}

/// A range outside the file, or one that we do not understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotSatisfiable;

impl ByteRange {
    /// The part that `bytes=…` names of a file of this size.
    pub(super) fn parse(text: &str, size: u64) -> Result<Self, NotSatisfiable> {
        let (first, last) = text
            .strip_prefix("bytes=")
            .and_then(|r| r.split_once('-'))
            .ok_or(NotSatisfiable)?;
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| NotSatisfiable);
        let (first, end) = if first.trim().is_empty() {
            (size.saturating_sub(number(last)?), size)
        } else if last.trim().is_empty() {
            (number(first)?, size)
        } else {
            (number(first)?, number(last)?.saturating_add(1).min(size))
        };
        if first >= end {
            return Err(NotSatisfiable);
        }
        Ok(Self {
            first,
            length: end - first,
        })
    }

    /// The `Content-Range` header of an answer with this part.
    pub(super) fn content_range(self, size: u64) -> String {
        format!(
            "bytes {}-{}/{size}",
            self.first,
            self.first + self.length - 1
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_range() {
        let of = |text| ByteRange::parse(text, 100).map(|r| (r.first, r.length));
        assert_eq!(of("bytes=0-9"), Ok((0, 10)));
        assert_eq!(of("bytes=90-"), Ok((90, 10)));
        assert_eq!(of("bytes=-5"), Ok((95, 5)));
        assert_eq!(of("bytes=90-1000"), Ok((90, 10)));
        for bad in [
            "bytes=100-",
            "bytes=5-4",
            "bytes=-0",
            "lines=1-2",
            "bytes=x-y",
            "bytes=1-2,4-5",
        ] {
            assert_eq!(of(bad), Err(NotSatisfiable), "{bad}");
        }
        assert_eq!(
            ByteRange {
                first: 90,
                length: 10
            }
            .content_range(100),
            "bytes 90-99/100"
        );
    }
}
