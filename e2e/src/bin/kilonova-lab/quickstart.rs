//! `examples/quickstart`, filled in: the files are valid manifests for a person to read, in which three things can
//! only be known here: the image's address, its checksum, and the key.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kilonova_e2e::{Error, Result, build::GuestImage, lab::SshKey, repo};

use crate::up;

/// The files, ready to be applied.
#[derive(Debug)]
pub(crate) struct Quickstart {
    /// Where they are.
    pub(crate) dir: PathBuf,
    /// The key that the instance lets in.
    pub(crate) key: SshKey,
}

/// Copies the example and puts in what it leaves open.
pub(crate) async fn prepare() -> Result<Quickstart> {
    let dir = repo::work().join("quickstart");
    let keys = repo::work().join("keys");
    for dir in [&dir, &keys] {
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
    }
    let key = SshKey::at(&keys.join("quickstart")).await?;
    let image = GuestImage::find()?;
    let source = repo::root().join("examples/quickstart");
    let mut open = vec![
        (
            "https://images.example.com/guest.qcow2".to_owned(),
            up::image_url(),
        ),
        (format!("sha256:{}", "0".repeat(64)), image.checksum()),
        (placeholder_key(), key.public.clone()),
    ];
    for entry in fs::read_dir(&source).map_err(Error::file("read", &source))? {
        let path = entry.map_err(Error::file("read", &source))?.path();
        let Some(name) = path.file_name() else {
            continue;
        };
        let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let target = dir.join(name);
        fs::write(&target, fill_in(text, &mut open)).map_err(Error::file("write", &target))?;
    }
    match open.first() {
        None => Ok(Quickstart { dir, key }),
        Some((placeholder, _)) => Err(missing(&source, placeholder)),
    }
}

/// Replaces what is found, and strikes it off the list.
fn fill_in(mut text: String, open: &mut Vec<(String, String)>) -> String {
    open.retain(|(placeholder, value)| {
        let found = text.contains(placeholder);
        text = text.replace(placeholder, value);
        !found
    });
    text
}

/// An ed25519 key of zeros, to which nobody has the private one.
fn placeholder_key() -> String {
    format!(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} put-in-your-own",
        "A".repeat(43)
    )
}

fn missing(source: &Path, placeholder: &str) -> Error {
    Error::Manifest {
        path: source.to_path_buf(),
        problem: format!("the placeholder {placeholder:?} is in none of its files"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_has_every_placeholder() {
        let mut open = vec![
            (
                "https://images.example.com/guest.qcow2".to_owned(),
                "u".to_owned(),
            ),
            (format!("sha256:{}", "0".repeat(64)), "c".to_owned()),
            (placeholder_key(), "k".to_owned()),
        ];
        let dir = repo::root().join("examples/quickstart");
        let files = fs::read_dir(dir).into_iter().flatten().flatten();
        let texts: Vec<_> = files
            .filter_map(|file| fs::read_to_string(file.path()).ok())
            .collect();
        assert!(texts.len() >= 6, "one file for each kind");
        for text in texts {
            fill_in(text, &mut open);
        }
        assert_eq!(open, []);
    }
}
