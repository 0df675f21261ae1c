//! What can go wrong with files and tools.

use std::io;
use std::path::PathBuf;

/// Why something on disk could not be read, made or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("{operation} {path}", path = path.display())]
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
    /// The state directory is not one that `qemu` and libvirt can be given.
    #[error("{path:?} must be absolute, and of plain text")]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// The root disk would be smaller than its image.
    #[error("a root disk of {bytes} bytes is smaller than its image, {image} bytes")]
    TooSmall {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes of the image.
        image: u64,
    },
    /// The record cannot be written as JSON.
    #[error("write the record as JSON")]
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
}
