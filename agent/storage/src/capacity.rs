//! Room on the state directory's file system.

use crate::Error;
use nix::sys::statvfs::statvfs;
use std::path::Path;

/// Room on a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Its size.
    pub total: u64,
    /// What anyone but root may still take.
    pub free: u64,
}

pub(crate) fn of(path: &Path) -> Result<Capacity, Error> {
    let stat = statvfs(path)
        .map_err(|errno| Error::io("ask for the free space of", path)(errno.into()))?;
    let block = stat.fragment_size();
    Ok(Capacity {
        total: stat.blocks().saturating_mul(block),
        free: stat.blocks_available().saturating_mul(block),
    })
}
