//! What the agent keeps on disk: cached images, and a directory for each instance with its root
//! disk, its config drive and its record. The only crate that runs `qemu-img` and the tool that
//! writes ISO images.
//!
//! Whatever is made is made under a temporary name, brought to the disk, then renamed: a crash
//! leaves it whole or not there. Nothing here decides what is to be made or removed.
//!
//! Directories can be passed by everyone and listed by root only, because QEMU runs as a user of
//! its own: libvirt gives it the files, not the way to them.

mod capacity;
mod error;
mod files;
mod image;
mod instance;
mod overlay;
mod tool;

pub use capacity::Capacity;
pub use error::Error;
pub use image::{CachedImage, ImageError, ImageRequest, Images, Progress};
pub use instance::Instances;
pub use tool::PATH as TOOL_PATH;

use kilonova_common::http_source::HttpSource;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::RwLock;

/// The state directory of an agent. Clones are one handle.
#[derive(Clone, Debug)]
pub struct Storage {
    root: PathBuf,
    images: Images,
    instances: Instances,
}

/// Held for reading while a root disk is made over a cached image, for writing while images are
/// removed that no root disk is over.
type Bases = Arc<RwLock<()>>;

impl Storage {
    /// Opens a state directory, an absolute path; makes it where it is not there, and ends the
    /// removals that a crash broke off. `http` fetches images.
    ///
    /// # Errors
    /// When it cannot be made or used.
    pub fn open(root: &Path, http: HttpSource) -> Result<Self, Error> {
        plain(root)?;
        let (images, instances) = (root.join("images"), root.join("instances"));
        for directory in [root, &images, &instances] {
            files::make_directory(directory)?;
        }
        let bases = Bases::default();
        let instances = Instances::new(instances, Arc::clone(&bases));
        instances.end_removals()?;
        Ok(Self {
            root: root.to_owned(),
            images: Images::new(images, http, instances.clone(), bases),
            instances,
        })
    }

    /// Whether a state directory can be written, tried with a file; and what room there is.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn try_directory(root: &Path) -> Result<Capacity, Error> {
        plain(root)?;
        files::make_directory(root)?;
        let trial = root.join("trial");
        files::write(&trial, b"")?;
        files::remove(&trial)?;
        capacity::of(root)
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
        capacity::of(&self.root)
    }

    /// Whether files there can be read and written past the page cache (`O_DIRECT`).
    #[must_use]
    pub fn direct_io(&self) -> bool {
        files::direct_io(&self.root)
    }
}

/// Whether QEMU and libvirt can be given that path.
fn plain(root: &Path) -> Result<(), Error> {
    let plain = |text: &str| !text.chars().any(char::is_control);
    if root.is_absolute() && root.to_str().is_some_and(plain) {
        return Ok(());
    }
    let path = root.to_owned();
    Err(Error::Path { path })
}
