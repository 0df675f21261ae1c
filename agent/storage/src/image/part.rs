//! A file on its way: its bytes so far, and their checksum. Blocking.

use super::ImageError;
use super::request::{CachedImage, Checksum, Hasher, ImageRequest};
use crate::{Error, files};
use kilonova_common::image_header::{self, HEAD_BYTES};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Endings of a part and of what is known of where it comes from.
pub(super) const PART: &str = "part";
pub(super) const ORIGIN: &str = "origin";
/// Bytes that are read at once from a part that is there.
const BUFFER: usize = 1 << 20;

/// Where a part's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// The address.
    pub(super) url: String,
    /// The server's version of the file.
    pub(super) etag: String,
}

/// A part. Only one in the system has it: it is locked.
#[derive(Debug)]
pub(super) struct Part {
    /// What its name, and that of its origin, begin with.
    download: PathBuf,
    path: PathBuf,
    file: File,
    length: u64,
    hasher: Hasher,
}

impl Part {
    /// Opens a part, or makes an empty one, and reads what is there. Waits for who has it.
    pub(super) fn open(download: &Path, checksum: &Checksum) -> Result<Self, Error> {
        let path = download.with_added_extension(PART);
        let mut file = lock(&path)?;
        let mut hasher = checksum.hasher();
        let mut length = 0;
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = file.read(&mut buffer).map_err(Error::io("read", &path))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            length += read as u64;
        }
        Ok(Self {
            download: download.to_owned(),
            path,
            file,
            length,
            hasher,
        })
    }

    /// Bytes that are here.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Where its bytes come from, as far as that is known.
    pub(super) fn origin(&self) -> Option<Origin> {
        let text = fs::read(self.download.with_added_extension(ORIGIN)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Notes where the bytes come from that follow.
    pub(super) fn set_origin(&self, origin: Option<&Origin>) -> Result<(), Error> {
        let path = self.download.with_added_extension(ORIGIN);
        match origin {
            Some(origin) => files::write(&path, &serde_json::to_vec(origin)?),
            None => files::remove(&path),
        }
    }

    /// Throws its bytes away.
    pub(super) fn restart(&mut self, checksum: &Checksum) -> Result<(), Error> {
        self.file
            .set_len(0)
            .map_err(Error::io("empty", &self.path))?;
        let start = self.file.seek(SeekFrom::Start(0));
        start.map_err(Error::io("rewind", &self.path))?;
        (self.length, self.hasher) = (0, checksum.hasher());
        Ok(())
    }

    /// Adds bytes at its end.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(bytes);
        written.map_err(Error::io("write", &self.path))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Whether its bytes are those of the checksum.
    pub(super) fn check(&self, checksum: &Checksum) -> Result<(), ImageError> {
        let actual = self.hasher.clone().finish();
        if actual == *checksum {
            return Ok(());
        }
        Err(ImageError::ChecksumMismatch {
            expected: checksum.to_string(),
            actual: actual.to_string(),
        })
    }

    /// Makes it the image, once its checksum is right and its header harmless.
    pub(super) fn finish(
        self,
        target: &Path,
        request: &ImageRequest,
    ) -> Result<CachedImage, ImageError> {
        let checked = self.check(request.checksum());
        let checked = checked.and_then(|()| read_header(&self.path, target, request));
        let image = match checked {
            Ok(image) => image,
            Err(error) => {
                self.discard()?;
                return Err(error);
            }
        };
        match files::publish_first(&self.path, target) {
            Ok(()) => self.set_origin(None)?,
            // The same bytes came from elsewhere meanwhile. Root disks may be over them already:
            // they stay.
            Err(error) if error.is_already_there() => self.discard()?,
            Err(error) => return Err(error.into()),
        }
        Ok(image)
    }

    /// Removes it.
    pub(super) fn discard(self) -> Result<(), Error> {
        self.set_origin(None)?;
        files::remove(&self.path)
    }
}

impl Drop for Part {
    /// An empty one leaves nothing behind.
    fn drop(&mut self) {
        if self.length > 0 {
            return;
        }
        let removed = self.set_origin(None);
        if let Err(error) = removed.and_then(|()| files::remove(&self.path)) {
            tracing::debug!(%error, "remove an empty part");
        }
    }
}

/// Locks a part, one that still has its name once it is locked.
fn lock(path: &Path) -> Result<File, Error> {
    let error = |operation| Error::io(operation, path);
    loop {
        let mut options = OpenOptions::new();
        // QEMU's user reads it one day; it is behind a directory that nobody can list.
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644);
        let file = options.open(path).map_err(error("open"))?;
        file.lock().map_err(error("lock"))?;
        let inode = file.metadata().map_err(error("look at"))?.ino();
        let named = fs::metadata(path).map_err(error("look at"));
        if files::unless_missing(named)?.is_some_and(|named| named.ino() == inode) {
            return Ok(file);
        }
    }
}

/// The image at a path, where there is one.
pub(super) fn find(path: &Path, request: &ImageRequest) -> Result<Option<CachedImage>, ImageError> {
    match read_header(path, path, request) {
        Err(ImageError::Disk(error)) if error.is_not_found() => Ok(None),
        other => other.map(Some),
    }
}

/// What a file's header says, where it is what was asked for. `target` is its path once it is whole.
fn read_header(
    path: &Path,
    target: &Path,
    request: &ImageRequest,
) -> Result<CachedImage, ImageError> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let size = file.metadata().map_err(Error::io("look at", path))?.len();
    let mut head = Vec::new();
    let read = file.take(HEAD_BYTES).read_to_end(&mut head);
    read.map_err(Error::io("read", path))?;
    let header = image_header::parse(request.format(), &head, size).map_err(|refusal| {
        ImageError::BadHeader {
            message: refusal.to_string(),
        }
    })?;
    request.check_size(header.virtual_size)?;
    Ok(CachedImage {
        path: target.to_owned(),
        format: header.format,
        virtual_size: header.virtual_size,
    })
}

/// Removes a part that nobody works on. Returns whether it did.
pub(super) fn remove_idle(path: &Path) -> Result<bool, Error> {
    let opened = File::open(path).map_err(Error::io("open", path));
    let Some(file) = files::unless_missing(opened)? else {
        return Ok(false);
    };
    if file.try_lock().is_err() {
        return Ok(false);
    }
    files::remove(&path.with_extension(ORIGIN))?;
    files::remove(path)?;
    Ok(true)
}
