//! What is asked for, and what is here.

use super::ImageError;
use kilonova_common::http_source::Location;
use kilonova_crds::node::DomainImage;
use kilonova_crds::v1alpha1::{ImageFormat, ImageKind};
use sha2::{Digest, Sha256, Sha512};
use std::fmt::Write;
use std::path::PathBuf;

/// What the smallest image may have beside its disk, in bytes: tables, and clusters begun.
const SLACK: u64 = 64 << 20;

/// An image that an instance needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageRequest {
    kind: ImageKind,
    url: String,
    checksum: Checksum,
    format: ImageFormat,
    virtual_size: u64,
}

/// A checksum: its algorithm, and its digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Checksum {
    algorithm: Algorithm,
    digits: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Algorithm {
    Sha256,
    Sha512,
}

/// An image on this node, whole and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedImage {
    /// Its file.
    pub path: PathBuf,
    /// Its format.
    pub format: ImageFormat,
    /// Size of the disk that a guest sees, in bytes.
    pub virtual_size: u64,
}

impl TryFrom<&DomainImage> for ImageRequest {
    type Error = ImageError;

    fn try_from(image: &DomainImage) -> Result<Self, ImageError> {
        Ok(Self {
            kind: image.kind,
            url: image.url.clone(),
            checksum: Checksum::parse(&image.checksum)?,
            format: image.format,
            virtual_size: image.virtual_size.bytes()?,
        })
    }
}

impl ImageRequest {
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Where it is fetched from.
    pub(super) fn location(&self) -> Location<'_> {
        Location {
            kind: self.kind,
            url: &self.url,
        }
    }

    /// The name of its download, which is one from one place: a server that stalls, or sends
    /// something else, keeps nobody from the same bytes that another server has.
    pub(super) fn download_name(&self) -> String {
        let kind = match self.kind {
            ImageKind::Image => "image",
            ImageKind::ClusterImage => "cluster-image",
        };
        let place = Sha256::new().chain_update(kind).chain_update([0]);
        let place = hex(&place.chain_update(&self.url).finalize());
        format!("{}.{}", self.file_name(), &place[..16])
    }

    pub(super) fn checksum(&self) -> &Checksum {
        &self.checksum
    }

    pub(super) fn format(&self) -> ImageFormat {
        self.format
    }

    /// Refuses a file that is far larger than its disk: none of ours to fill the node with.
    pub(super) fn check_length(&self, length: u64) -> Result<(), ImageError> {
        let longest = self.virtual_size.saturating_mul(2).saturating_add(SLACK);
        if length <= longest {
            return Ok(());
        }
        Err(ImageError::BadHeader {
            message: format!("it has {length} bytes, for a disk of {}", self.virtual_size),
        })
    }

    /// The name of its file: what it must be, and how it is to be read. So the same bytes, said to
    /// be of another format, are another file.
    pub(super) fn file_name(&self) -> String {
        let format = match self.format {
            ImageFormat::Qcow2 => "qcow2",
            ImageFormat::Raw => "raw",
        };
        let Checksum { algorithm, digits } = &self.checksum;
        format!("{}-{digits}.{format}", algorithm.name())
    }

    /// Whether a file's virtual size is the one that is asked for: sizes were claimed by it.
    pub(super) fn check_size(&self, virtual_size: u64) -> Result<(), ImageError> {
        if virtual_size == self.virtual_size {
            return Ok(());
        }
        Err(ImageError::BadHeader {
            message: format!(
                "its disk has {virtual_size} bytes, not {}",
                self.virtual_size
            ),
        })
    }
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

impl Checksum {
    fn parse(text: &str) -> Result<Self, ImageError> {
        let error = || ImageError::Checksum(text.to_owned());
        let (name, digits) = text.split_once(':').ok_or_else(error)?;
        let (algorithm, length) = match name {
            "sha256" => (Algorithm::Sha256, 64),
            "sha512" => (Algorithm::Sha512, 128),
            _ => return Err(error()),
        };
        let digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != length || !digits.bytes().all(digit) {
            return Err(error());
        }
        let digits = digits.to_owned();
        Ok(Self { algorithm, digits })
    }

    pub(super) fn hasher(&self) -> Hasher {
        match self.algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.digits)
    }
}

/// A checksum under way.
#[derive(Clone, Debug)]
pub(super) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Checksum {
        let (algorithm, digits) = match self {
            Self::Sha256(hash) => (Algorithm::Sha256, hex(&hash.finalize())),
            Self::Sha512(hash) => (Algorithm::Sha512, hex(&hash.finalize())),
        };
        Checksum { algorithm, digits }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_checksum_names_the_file_and_nothing_else_can() {
        let sha256 = format!("sha256:{}", "0a".repeat(32));
        let sha512 = format!("sha512:{}", "0a".repeat(64));
        let request = |checksum: &str| {
            ImageRequest::try_from(&DomainImage {
                kind: ImageKind::Image,
                url: "http://example.org/x".to_owned(),
                checksum: checksum.to_owned(),
                format: ImageFormat::Qcow2,
                virtual_size: "1Gi".into(),
            })
        };
        for good in [&sha256, &sha512] {
            let name = request(good).unwrap().file_name();
            assert_eq!(name, format!("{}.qcow2", good.replace(':', "-")));
        }
        for bad in [
            "",
            "sha256:",
            &sha256.to_uppercase(),
            &sha256.replace("sha256", "md5"),
            &sha256.replace("sha256", "sha512"),
            &format!("{}/../x", &sha256[..66]),
        ] {
            let refused = request(bad);
            assert!(matches!(refused, Err(ImageError::Checksum(_))), "{bad:?}");
        }
    }

    #[test]
    fn hashes() {
        for (name, expected) in [
            (
                "sha256",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                "sha512",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            let checksum = Checksum::parse(&format!("{name}:{expected}")).unwrap();
            let mut hasher = checksum.hasher();
            hasher.update(b"a");
            hasher.update(b"bc");
            assert_eq!(hasher.finish(), checksum);
        }
    }
}
