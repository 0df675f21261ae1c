//! File operations that survive a crash.

use crate::Error;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::libc;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of directories: to be passed by everyone, listed by root.
const DIRECTORY_MODE: u32 = 0o711;

/// Makes a directory, with those above it, where it is not there.
pub(crate) fn make_directory(path: &Path) -> Result<(), Error> {
    let mut builder = DirBuilder::new();
    let created = builder.recursive(true).mode(DIRECTORY_MODE).create(path);
    created.map_err(Error::io("make", path))?;
    // The process's umask may have taken something from it.
    let mode = Permissions::from_mode(DIRECTORY_MODE);
    fs::set_permissions(path, mode).map_err(Error::io("set the mode of", path))
}

/// Writes a file that only root can read, whole or not at all.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new).map_err(Error::io("make", &new))?;
    file.write_all(content).map_err(Error::io("write", &new))?;
    file.sync_all().map_err(Error::io("sync", &new))?;
    fs::rename(&new, path).map_err(Error::io("rename", &new))?;
    sync_parent(path)
}

/// Brings a file that is whole to the disk, and to its name: replaces what has it.
pub(crate) fn publish(new: &Path, path: &Path) -> Result<(), Error> {
    sync(new)?;
    fs::rename(new, path).map_err(Error::io("rename", new))?;
    sync_parent(path)
}

/// As [`publish`], but fails where something has the name.
pub(crate) fn publish_first(new: &Path, path: &Path) -> Result<(), Error> {
    sync(new)?;
    renameat2(AT_FDCWD, new, AT_FDCWD, path, RenameFlags::RENAME_NOREPLACE)
        .map_err(|errno| Error::io("rename", new)(errno.into()))?;
    sync_parent(path)
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    unless_missing(fs::remove_file(path).map_err(Error::io("remove", path))).map(drop)
}

/// `None` where the file is not there.
pub(crate) fn unless_missing<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn sync(path: &Path) -> Result<(), Error> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(Error::io("sync", path))
}

/// Brings the names in a file's directory to the disk.
pub(crate) fn sync_parent(path: &Path) -> Result<(), Error> {
    path.parent().map_or(Ok(()), sync)
}

/// Whether files in a directory can be opened with `O_DIRECT`.
pub(crate) fn direct_io(directory: &Path) -> bool {
    let path = directory.join(".direct-io");
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    let opened = options.custom_flags(libc::O_DIRECT).open(&path);
    // It was made even where it could not be opened.
    if let Err(error) = remove(&path) {
        tracing::debug!(%error, "remove what was opened to try direct I/O");
    }
    opened.is_ok()
}

/// Runs blocking file operations beside the asynchronous threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(Error::Panicked))
}
