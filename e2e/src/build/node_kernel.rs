//! The kernel of a cluster's nodes: user-mode Linux, built by `e2e/node-kernel/build.sh` from the distribution's source.

use std::{fs, path::PathBuf, process::Command};

use super::hash;
use crate::{Error, Result, repo};

/// The kernel, when it has been built.
///
/// # Errors
/// When it has not: `make lab` builds it.
pub fn find() -> Result<PathBuf> {
    let path = path()?;
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Missing {
        what: "the kernel of the lab's nodes".to_owned(),
        remedy: "run `kilonova-lab cluster setup`".to_owned(),
    })
}

/// Builds the kernel unless it is there. `say` is told before the minutes that it takes.
///
/// # Errors
/// When the script fails.
pub fn ensure(say: impl FnOnce(&str)) -> Result<PathBuf> {
    if let Ok(found) = find() {
        return Ok(found);
    }
    say("building the nodes' kernel from Debian's source (once; 6 minutes on two cores)");
    let path = path()?;
    let dir = path.parent().unwrap_or(&path);
    fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
    let script = repo::root().join("e2e/node-kernel/build.sh");
    super::quiet(Command::new(&script).arg(&path))?;
    find()
}

/// A newer patch of the same source is no reason to build anew; another configuration is.
fn path() -> Result<PathBuf> {
    let dir = repo::root().join("e2e/node-kernel");
    let files = ["build.sh", "config"].map(|name| dir.join(name));
    let hash = hash::inputs(&dir, &files, &[])?;
    Ok(repo::cache().join(format!("node-kernel-{hash}/node-kernel")))
}
