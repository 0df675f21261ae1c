//! What can go wrong with files and tools.

use std::io;
use std::path::{Path, PathBuf};

/// Why something on disk could not be read, made or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {operation} {path}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no room.
    #[error("no room for {path}", path = path.display())]
    NoSpace {
        /// What there is no room for.
        path: PathBuf,
    },
    /// A name is no UUID: it would be a path.
    #[error("{0:?} is no UUID")]
    Uuid(String),
    /// The state directory is not one that QEMU and libvirt can be given.
    #[error("{path:?} is not an absolute path of plain text")]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// A path on a config drive leads out of it.
    #[error("{0:?} is no path on a config drive")]
    ConfigPath(String),
    /// The root disk would be smaller than its image.
    #[error("a root disk of {bytes} bytes is smaller than its image of {image} bytes")]
    TooSmall {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes of the image.
        image: u64,
    },
    /// A root disk is not in qcow2, or its header is damaged.
    #[error("{path} is no qcow2 overlay", path = path.display())]
    NoOverlay {
        /// The disk.
        path: PathBuf,
    },
    /// The record cannot be written as JSON.
    #[error("cannot write the record as JSON")]
    Record(#[from] serde_json::Error),
    /// A tool failed.
    #[error("{tool} failed ({status}): {stderr}")]
    Tool {
        /// The tool.
        tool: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said, the last of it.
        stderr: String,
    },
    /// A tool did not end in time, and was killed.
    #[error("{tool} did not end within {seconds} s")]
    ToolTimeout {
        /// The tool.
        tool: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A thread of ours panicked.
    #[error("a file operation panicked")]
    Panicked,
}

impl Error {
    /// What an operation on a path failed with; a full disk is told apart.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            _ => Self::Io {
                operation,
                path,
                source,
            },
        }
    }

    /// Whether it is that something has the name already.
    pub(crate) fn is_already_there(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }

    /// Whether it is that something is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
