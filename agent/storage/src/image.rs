//! The cached images.

use crate::Error;
use kilonova_crds::node::DomainImage;
use kilonova_crds::v1alpha1::ImageFormat;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// An image that an instance needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageRequest {
    /// Where the bytes are.
    pub url: String,
    /// `sha256:` or `sha512:` and the digits, in lower case.
    pub checksum: String,
    /// Their format.
    pub format: ImageFormat,
    /// Size of the disk that a guest sees, in bytes.
    pub virtual_size: u64,
}

impl TryFrom<&DomainImage> for ImageRequest {
    type Error = ImageError;

    fn try_from(image: &DomainImage) -> Result<Self, ImageError> {
        let _ = image;
        unimplemented!()
    }
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

/// How far a download is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are here.
    pub done: u64,
    /// Bytes of all of it, where the server said so.
    pub total: Option<u64>,
}

/// Why an image is not here.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The checksum that was asked for is none.
    #[error("{0:?} is no checksum")]
    Checksum(String),
    /// The size that was asked for is none.
    #[error("the image's virtual size is none")]
    Size(#[from] kilonova_crds::quantity::QuantityError),
    /// The server has no such file (404, 410).
    #[error("{url}: not found")]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// The server answered with another status than success.
    #[error("{url}: the server answered {status}")]
    Http {
        /// What was asked for.
        url: String,
        /// The answer's status.
        status: u16,
    },
    /// The server cannot be reached, or broke off.
    #[error("{url}: the download broke off after {done} bytes")]
    Broken {
        /// What was asked for.
        url: String,
        /// Bytes that are here; the next try goes on from there.
        done: u64,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing came for a while.
    #[error("{url}: nothing came for {seconds} s, after {done} bytes")]
    Stalled {
        /// What was asked for.
        url: String,
        /// Bytes that are here; the next try goes on from there.
        done: u64,
        /// How long nothing came.
        seconds: u64,
    },
    /// The bytes are others than the checksum says; they were thrown away.
    #[error("{url}: the checksum is {actual}, not {expected}")]
    ChecksumMismatch {
        /// What was asked for.
        url: String,
        /// What it should be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// The header is an attack, or of another image; the bytes were thrown away.
    #[error("{url}: {message}")]
    BadHeader {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        message: String,
    },
    /// There is no room for it, with every unused image gone.
    #[error("{url}: {needed} bytes are needed, {free} are free")]
    NoSpace {
        /// What was asked for.
        url: String,
        /// Bytes that are still to come.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The node's own trouble.
    #[error("keep the image on disk")]
    Disk(#[from] Error),
}

impl ImageError {
    /// Whether the image itself is wrong, so that trying again soon would change nothing.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::Checksum(_)
                | Self::Size(_)
                | Self::ChecksumMismatch { .. }
                | Self::BadHeader { .. }
        )
    }
}

/// The cached images, `<state-dir>/images`.
#[derive(Clone, Debug)]
pub struct Images {}

impl Images {
    /// The image, where it is here.
    #[must_use]
    pub fn find(&self, request: &ImageRequest) -> Option<CachedImage> {
        let _ = request;
        unimplemented!()
    }

    /// The image, fetched where it is not here: once, however many ask. The download ends when all
    /// who asked have dropped their futures; what came is kept for the next try.
    ///
    /// # Errors
    /// The same error to all who asked.
    pub async fn ensure(&self, request: &ImageRequest) -> Result<CachedImage, Arc<ImageError>> {
        let _ = request;
        unimplemented!()
    }

    /// How far the download of an image is; `None` where none is under way.
    #[must_use]
    pub fn progress(&self, request: &ImageRequest) -> Option<watch::Receiver<Progress>> {
        let _ = request;
        unimplemented!()
    }

    /// Removes images that no root disk is over and nobody asks for, the longest unused first,
    /// until `bytes` are free. Returns how many bytes are free then. [`Self::ensure`] does so by
    /// itself.
    ///
    /// # Errors
    /// When the disks cannot be read: then nothing is removed.
    pub async fn make_room(&self, bytes: u64) -> Result<u64, Error> {
        let _ = bytes;
        unimplemented!()
    }
}
