//! Why an image is not here.

use crate::Error;
use kilonova_common::http_source::FetchError;

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
    #[error("the server has no such file")]
    NotFound,
    /// The server answered with another status than success.
    #[error("the server answered {0}")]
    Status(u16),
    /// The address cannot be fetched from, or the server not be reached.
    #[error("the download did not begin")]
    Unreachable(#[source] FetchError),
    /// The server broke off.
    #[error("the download broke off after {done} bytes")]
    Broken {
        /// Bytes that are here; the next try goes on from there.
        done: u64,
        /// Why; absent where the server ended too early without a word.
        source: Option<FetchError>,
    },
    /// Nothing came for as long as is waited.
    #[error("the download stalled after {done} bytes")]
    Stalled {
        /// Bytes that are here; the next try goes on from there.
        done: u64,
        /// What was waited for.
        source: FetchError,
    },
    /// The bytes are others than the checksum says; they were thrown away.
    #[error("the checksum of what came is {actual}, not {expected}")]
    ChecksumMismatch {
        /// What it should be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// The header is an attack, or of another image; the bytes were thrown away.
    #[error("the image is not usable: {message}")]
    BadHeader {
        /// What is wrong with it.
        message: String,
    },
    /// There is no room for it, with every unused image gone.
    #[error("no room for the image: {needed} bytes are needed, {free} are free")]
    NoSpace {
        /// Bytes that are still to come.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The node's own trouble.
    #[error("the image cannot be kept")]
    Disk(#[from] Error),
}

impl ImageError {
    /// Whether the image itself is wrong, so that trying again soon would change nothing.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Checksum(_)
            | Self::Size(_)
            | Self::ChecksumMismatch { .. }
            | Self::BadHeader { .. } => true,
            Self::NotFound
            | Self::Status(_)
            | Self::Unreachable(_)
            | Self::Broken { .. }
            | Self::Stalled { .. }
            | Self::NoSpace { .. }
            | Self::Disk(_) => false,
        }
    }

    /// What a server's answer means before a byte came.
    pub(super) fn before(error: FetchError, done: u64) -> Self {
        match error {
            FetchError::Status(404 | 410) => Self::NotFound,
            FetchError::Status(status) => Self::Status(status),
            FetchError::Timeout(_) => Self::Stalled {
                done,
                source: error,
            },
            _ => Self::Unreachable(error),
        }
    }

    /// What ended a transfer.
    pub(super) fn amid(error: FetchError, done: u64) -> Self {
        match error {
            FetchError::Timeout(_) | FetchError::TooSlow => Self::Stalled {
                done,
                source: error,
            },
            _ => Self::Broken {
                done,
                source: Some(error),
            },
        }
    }
}
