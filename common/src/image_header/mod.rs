//! The header of a disk image, read from the file's first bytes: what it is, how large a disk the
//! guest sees, and whether it is harmless.
//!
//! An image is a stranger's file. A qcow2 can name a second file (its backing file, an external
//! data file) that whoever opens it reads too: on a node that is any file of the node's. So no tool
//! sees an image before this parser has; it looks at bytes only, and trusts none of them.

mod qcow2;

use kilonova_crds::v1alpha1::ImageFormat;

/// How many bytes from the file's start a caller should give: qcow2's header with its extensions
/// and the backing file's name lie in the first cluster, which is 64 KiB by default.
pub const HEAD_BYTES: u64 = 64 << 10;

/// The largest disk that is accepted, and the largest file: 16 TiB, the most that ext4 holds in one
/// file. A header that says more would only make the node promise what it cannot keep.
pub const MAX_BYTES: u64 = 16 << 40;

/// What an accepted image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its format.
    pub format: ImageFormat,
    /// Size of the disk that a guest sees, in bytes; a multiple of 512.
    pub virtual_size: u64,
}

/// Why an image is refused. The text is for the image's owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There are no bytes.
    #[error("the file is empty")]
    Empty,
    /// Raw was declared, and the bytes are of another format.
    #[error("declared as raw, but the file is {0}")]
    NotRaw(&'static str),
    /// Qcow2 was declared, and the magic number is not there.
    #[error("declared as qcow2, but the file does not begin as one")]
    NotQcow2,
    /// The header does not end within the bytes there are.
    #[error("the qcow2 header is cut short")]
    Truncated,
    /// A version that nobody has written yet, or the first, which QEMU gave up.
    #[error("qcow2 version {0} is not supported: use version 2 or 3")]
    Version(u32),
    /// It names another file to read from.
    #[error("it has a backing file; flatten it with `qemu-img convert -O qcow2`")]
    BackingFile,
    /// It keeps its data in another file.
    #[error("it keeps its data in an external file; convert it with `qemu-img convert -O qcow2`")]
    ExternalDataFile,
    /// Its data are encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// It was not closed, or is known to be damaged.
    #[error("it is marked {0}; repair it with `qemu-img check -r all`")]
    Unclean(&'static str),
    /// Features that this parser does not know (a mask of qcow2's incompatible features).
    #[error("it needs features that are not supported (mask {0:#x})")]
    UnknownFeatures(u64),
    /// A field has a value that no writer of the format gives it.
    #[error("its header is damaged: {0}")]
    Malformed(&'static str),
    /// The disk or the file is larger than [`MAX_BYTES`].
    #[error("its size of {0} bytes is above the limit of 16 TiB")]
    TooLarge(u64),
}

/// Reads a header. `head` is the start of the file, [`HEAD_BYTES`] of it or the whole file where
/// that is shorter; `file_size` is the size of the whole file in bytes.
///
/// # Errors
/// A [`Refusal`] where the image must not be used.
pub fn parse(declared: ImageFormat, head: &[u8], file_size: u64) -> Result<Header, Refusal> {
    if head.is_empty() || file_size == 0 {
        return Err(Refusal::Empty);
    }
    if file_size > MAX_BYTES {
        return Err(Refusal::TooLarge(file_size));
    }
    let virtual_size = match declared {
        ImageFormat::Qcow2 => qcow2::virtual_size(head, file_size)?,
        ImageFormat::Raw => raw_size(head, file_size)?,
    };
    Ok(Header {
        format: declared,
        virtual_size: virtual_size.next_multiple_of(512),
    })
}

/// Formats that are mistaken for raw, by their first bytes.
const NOT_RAW: [(&[u8], &str); 7] = [
    (b"QFI\xfb", "qcow2"),
    (b"KDMV", "vmdk"),
    (b"vhdxfile", "vhdx"),
    (b"conectix", "vpc"),
    (b"<<< ", "vdi"),
    (b"LUKS\xba\xbe", "a LUKS volume"),
    (b"\x1f\x8b", "compressed with gzip"),
];

fn raw_size(head: &[u8], file_size: u64) -> Result<u64, Refusal> {
    match NOT_RAW.iter().find(|(magic, _)| head.starts_with(magic)) {
        Some((_, format)) => Err(Refusal::NotRaw(format)),
        None => Ok(file_size),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn raw_is_its_own_size_in_whole_sectors() {
        let header = parse(ImageFormat::Raw, &[0; 100], 1000).unwrap();
        assert_eq!(header.virtual_size, 1024);
        assert_eq!(parse(ImageFormat::Raw, &[], 0), Err(Refusal::Empty));
        let large = MAX_BYTES + 1;
        let refused = parse(ImageFormat::Raw, &[0; 100], large);
        assert_eq!(refused, Err(Refusal::TooLarge(large)));
    }

    #[test]
    fn other_formats_are_not_raw() {
        for (magic, format) in NOT_RAW {
            let refused = parse(ImageFormat::Raw, magic, 4096);
            assert_eq!(refused, Err(Refusal::NotRaw(format)));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(
            mut head in prop::collection::vec(any::<u8>(), 0..300),
            size in any::<u64>(),
            begin_as_qcow2 in any::<bool>(),
        ) {
            if begin_as_qcow2 && head.len() >= 8 {
                head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
            }
            for format in [ImageFormat::Qcow2, ImageFormat::Raw] {
                if let Ok(header) = parse(format, &head, size) {
                    prop_assert!(header.virtual_size > 0 && header.virtual_size <= MAX_BYTES);
                }
            }
        }
    }
}
