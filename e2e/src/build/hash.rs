//! Hashes of inputs and of files.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// The SHA-256 of a file, in hex.
///
/// # Errors
/// When it cannot be read.
pub fn file(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::file("open", path))?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(length) => hash.update(chunk.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::file("read", path)(error)),
        }
    }
}

/// A short hash of files' names and contents and of some words beside them (versions of tools).
pub(super) fn inputs(dir: &Path, files: &[PathBuf], words: &[&str]) -> Result<String> {
    let mut hash = Sha256::new();
    for path in files {
        let text = fs::read(path).map_err(Error::file("read", path))?;
        let name = path.strip_prefix(dir).unwrap_or(path).to_string_lossy();
        hash.update(format!("{name}\0{}\0", text.len()));
        hash.update(text);
    }
    hash.update(words.join("\0"));
    let mut text = hex(&hash.finalize());
    text.truncate(16);
    Ok(text)
}

/// All files below a directory, in a fixed order.
pub(super) fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).map_err(Error::file("read", &dir))? {
            let path = entry.map_err(Error::file("read", &dir))?.path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is wrong"
)]
mod tests {
    use super::*;

    #[test]
    fn a_file_moved_is_another_input() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&a, "x").unwrap();
        fs::write(&b, "x").unwrap();
        let of = |path: &PathBuf| inputs(dir.path(), std::slice::from_ref(path), &["v1"]).unwrap();
        assert_ne!(of(&a), of(&b));
        assert_eq!(of(&a), of(&a));
        assert_ne!(
            of(&a),
            inputs(dir.path(), std::slice::from_ref(&a), &["v2"]).unwrap()
        );
    }

    #[test]
    fn the_hash_of_a_file_is_what_sha256sum_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        fs::write(&path, "abc").unwrap();
        assert_eq!(
            file(&path).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
