//! What the agent keeps on disk: cached images, and a directory for each instance with its root
//! disk, its config drive and its record. The only crate that runs `qemu-img` and the tool that
//! writes ISO images.
//!
//! Whatever is made is made under a temporary name, brought to the disk, then renamed: a crash
//! leaves it whole or not there. Nothing here decides what is to be made or removed.

mod capacity;
mod error;
mod image;
mod instance;

pub use capacity::Capacity;
pub use error::Error;
pub use image::{CachedImage, ImageError, ImageRequest, Images, Progress};
pub use instance::Instances;

use std::path::{Path, PathBuf};

/// The state directory of an agent. Clones are one handle.
#[derive(Clone, Debug)]
pub struct Storage {
    root: PathBuf,
    images: Images,
    instances: Instances,
}

impl Storage {
    /// Opens a state directory, an absolute path; makes it where it is not there.
    ///
    /// # Errors
    /// When it cannot be made or used.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let _ = root;
        unimplemented!()
    }

    /// The cached images.
    #[must_use]
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// The instances' directories.
    #[must_use]
    pub fn instances(&self) -> &Instances {
        &self.instances
    }

    /// Size of the state directory's file system, and what is free of it.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn capacity(&self) -> Result<Capacity, Error> {
        let _ = &self.root;
        unimplemented!()
    }

    /// Whether files there can be read and written past the page cache (`O_DIRECT`).
    #[must_use]
    pub fn direct_io(&self) -> bool {
        unimplemented!()
    }
}
