//! The config drive: an ISO image with the label `config-2`, which is how guests find it.
//!
//! What it was made from is written into the image itself, as a digest in the field for the
//! application that is to read it: so the two cannot differ, whenever a crash comes.

use crate::tool::Tool;
use crate::{Error, files};
use kilonova_agent_core::guest::Files;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, FileExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// The label that cloud-init and others look for.
const LABEL: &str = "config-2";
/// What the digest is preceded by.
const PREFIX: &str = "kilonova:";
/// Offset and length of the application identifier (ECMA-119, 8.4.20: bytes 575 to 702 of the
/// volume descriptor in sector 16).
const APPLICATION: (u64, usize) = (16 * 2048 + 574, 128);

/// A config drive has a few kilobytes.
const GENISOIMAGE: Tool = Tool {
    program: "genisoimage",
    address_space: 1 << 30,
    cpu_seconds: 30,
    seconds: 60,
};
/// With Rock Ridge and Joliet names, as deep and long and lower-case as they are.
const OPTIONS: [&str; 8] = [
    "-quiet",
    "-J",
    "-r",
    "-l",
    "-ldots",
    "-allow-lowercase",
    "-allow-multidot",
    "-input-charset=utf-8",
];

/// What a drive was made from; `None` where there is none, or one that says nothing of it.
pub(super) fn digest(drive: &Path) -> Result<Option<String>, Error> {
    let opened = File::open(drive).map_err(Error::io("open", drive));
    let Some(file) = files::unless_missing(opened)? else {
        return Ok(None);
    };
    let (offset, length) = APPLICATION;
    let mut field = vec![0; length];
    if file.read_exact_at(&mut field, offset).is_err() {
        return Ok(None);
    }
    let field = String::from_utf8_lossy(&field);
    let digest = field.trim_end().strip_prefix(PREFIX);
    Ok(digest.map(str::to_owned))
}

/// Writes a drive, replacing the one that is there.
pub(super) async fn write(
    directory: &Path,
    drive: &Path,
    content: Files,
    digest: &str,
) -> Result<(), Error> {
    let (source, new) = (directory.join("config.new.d"), directory.join("config.new"));
    let (to, tree) = (directory.to_owned(), source.clone());
    files::blocking(move || {
        files::make_directory(&to)?;
        lay_out(&tree, &content)
    })
    .await?;
    let application = format!("{PREFIX}{digest}");
    let options = OPTIONS.iter().map(OsStr::new);
    let volume = ["-V", LABEL, "-A", &application, "-o"].map(OsStr::new);
    let paths = [new.as_os_str(), source.as_os_str()];
    let arguments: Vec<_> = options.chain(volume).chain(paths).collect();
    GENISOIMAGE.run(&arguments).await?;
    let drive = drive.to_owned();
    files::blocking(move || {
        // User data may be secret; libvirt gives the file to QEMU's user.
        let mode = Permissions::from_mode(0o600);
        fs::set_permissions(&new, mode).map_err(Error::io("set the mode of", &new))?;
        files::publish(&new, &drive)?;
        fs::remove_dir_all(&source).map_err(Error::io("remove", &source))
    })
    .await
}

/// Writes the files into a directory that only root can read.
fn lay_out(tree: &Path, content: &Files) -> Result<(), Error> {
    let removed = fs::remove_dir_all(tree).map_err(Error::io("remove", tree));
    files::unless_missing(removed)?;
    let mut builder = DirBuilder::new();
    builder.mode(0o700).recursive(true);
    builder.create(tree).map_err(Error::io("make", tree))?;
    for (path, bytes) in content {
        let path = tree.join(relative(path)?);
        let parent = path.parent().unwrap_or(tree);
        builder.create(parent).map_err(Error::io("make", parent))?;
        fs::write(&path, bytes).map_err(Error::io("write", &path))?;
    }
    Ok(())
}

/// A path that stays below where it starts.
fn relative(path: &str) -> Result<PathBuf, Error> {
    let relative = PathBuf::from(path);
    let mut parts = relative.components();
    if path.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_))) {
        return Err(Error::ConfigPath(path.to_owned()));
    }
    Ok(relative)
}
