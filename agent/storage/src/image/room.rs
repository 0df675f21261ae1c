//! Removing what nobody uses. Blocking.

use super::part::{self, PART};
use crate::instance::Instances;
use crate::{Error, capacity, files};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What `stat` counts space in, in bytes (POSIX).
const BLOCK: u64 = 512;

/// Notes that an image is used now: the longest unused go first.
pub(super) fn touch(path: &Path) {
    let touched = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!(path = %path.display(), %error, "note the use of an image");
    }
}

/// Removes parts that nobody works on, then images that no root disk is over, until `bytes` are
/// free. Returns how many are.
pub(super) fn make(root: &Path, instances: &Instances, bytes: u64) -> Result<u64, Error> {
    let used = instances.bases()?;
    let (parts, mut images): (Vec<_>, Vec<_>) = entries(root)?
        .into_iter()
        .filter(|entry| !used.contains(&entry.name))
        .partition(|entry| entry.path.extension().is_some_and(|end| end == PART));
    images.retain(|entry| is_image(&entry.path));
    images.sort_by_key(|entry| entry.used);
    let mut free = capacity::of(root)?.free;
    for entry in parts.iter().chain(&images) {
        if free >= bytes {
            break;
        }
        let is_part = entry.path.extension().is_some_and(|end| end == PART);
        if is_part {
            part::remove_idle(&entry.path)?;
        } else {
            files::remove(&entry.path)?;
        }
        tracing::info!(image = entry.name, "removed an image that nobody uses");
        free = capacity::of(root)?.free;
    }
    files::sync_parent(&root.join("."))?;
    Ok(free)
}

/// A file in the cache.
struct Entry {
    name: String,
    path: PathBuf,
    used: SystemTime,
}

fn is_image(path: &Path) -> bool {
    path.extension()
        .is_some_and(|end| end == "qcow2" || end == "raw")
}

fn entries(root: &Path) -> Result<Vec<Entry>, Error> {
    let error = || Error::io("list", root);
    let mut entries = Vec::new();
    for entry in fs::read_dir(root).map_err(error())? {
        let entry = entry.map_err(error())?;
        let used = entry.metadata().and_then(|metadata| metadata.modified());
        entries.push(Entry {
            name: entry.file_name().to_string_lossy().into_owned(),
            path: entry.path(),
            used: used.map_err(error())?,
        });
    }
    Ok(entries)
}

/// What the files of the cache take, in bytes.
pub(super) fn used(root: &Path) -> Result<u64, Error> {
    let error = || Error::io("list", root);
    let mut bytes = 0_u64;
    for entry in fs::read_dir(root).map_err(error())? {
        let metadata = entry.map_err(error())?.metadata().map_err(error())?;
        bytes = bytes.saturating_add(metadata.blocks().saturating_mul(BLOCK));
    }
    Ok(bytes)
}
