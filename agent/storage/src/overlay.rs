//! The header of a root disk: qcow2, as QEMU's `docs/interop/qcow2.rst` lays it out. A root disk
//! was made here, and a guest writes into it and not over its header; so this is no defence, as
//! [`kilonova_common::image_header`] is for what comes from outside.

use crate::{Error, files};
use kilonova_agent_core::record::DiskFile;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

const MAGIC: &[u8; 4] = b"QFI\xfb";
/// QEMU's bound of the length of a backing file's name, in bytes.
const NAME_MAX: u32 = 1023;

/// What a root disk is; `None` where it is not there.
pub(crate) fn inspect(path: &Path) -> Result<Option<DiskFile>, Error> {
    let opened = File::open(path).map_err(Error::io("open", path));
    let Some(file) = files::unless_missing(opened)? else {
        return Ok(None);
    };
    let metadata = file.metadata().map_err(Error::io("look at", path))?;
    let allocated_bytes = metadata.blocks() * 512;
    let (virtual_size_bytes, backing) = read_header(&file, path)?;
    Ok(Some(DiskFile {
        virtual_size_bytes,
        allocated_bytes,
        backing,
    }))
}

/// As [`inspect`]; a disk whose header cannot be read is one of no size. One of them must not keep
/// the others from being seen.
pub(crate) fn observe(path: &Path) -> Result<Option<DiskFile>, Error> {
    match inspect(path) {
        Err(error @ Error::NoOverlay { .. }) => {
            tracing::error!(%error, "a root disk cannot be read");
            Ok(Some(DiskFile {
                virtual_size_bytes: 0,
                allocated_bytes: 0,
                backing: None,
            }))
        }
        other => other,
    }
}

/// Virtual size in bytes, and the name of the image under it.
fn read_header(file: &File, path: &Path) -> Result<(u64, Option<String>), Error> {
    let mut header = [0; 32];
    let no_overlay = || Error::NoOverlay {
        path: path.to_owned(),
    };
    file.read_exact_at(&mut header, 0)
        .map_err(|_| no_overlay())?;
    let (magic, rest) = header.split_first_chunk().ok_or_else(no_overlay)?;
    let (_version, rest) = number(rest).ok_or_else(no_overlay)?;
    let (high, rest) = number(rest).ok_or_else(no_overlay)?;
    let (low, rest) = number(rest).ok_or_else(no_overlay)?;
    let (length, rest) = number(rest).ok_or_else(no_overlay)?;
    let (_cluster_bits, rest) = number(rest).ok_or_else(no_overlay)?;
    let (size_high, rest) = number(rest).ok_or_else(no_overlay)?;
    let (size_low, _) = number(rest).ok_or_else(no_overlay)?;
    if magic != MAGIC || length > NAME_MAX {
        return Err(no_overlay());
    }
    let mut name = vec![0; usize::try_from(length).map_err(|_| no_overlay())?];
    file.read_exact_at(&mut name, wide(high, low))
        .map_err(|_| no_overlay())?;
    let name = String::from_utf8_lossy(&name).into_owned();
    let backing = Path::new(&name).file_name();
    let backing = backing.map(|name| name.to_string_lossy().into_owned());
    Ok((wide(size_high, size_low), backing))
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), rest))
}

fn wide(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}
