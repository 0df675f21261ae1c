//! What a cluster's node runs beside the distribution's packages: kubelet and containerd, upstream's own commands,
//! built from the Go module `e2e/node-programs`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{control_plane, hash};
use crate::{Error, Result, repo};

/// One of them, by which the others are known to be there: the directory is renamed into its place as a whole.
const KUBELET: &str = "kubelet";

/// Drivers of other storage than the lab's; one of them would need a C library.
const TAGS: &str = "no_btrfs,no_devmapper,no_zfs";

/// The directory with the programs, when they have been built.
///
/// # Errors
/// When they have not: `make lab` builds them.
pub fn find() -> Result<PathBuf> {
    let dir = directory()?;
    if dir.join(KUBELET).is_file() {
        return Ok(dir);
    }
    Err(Error::Missing {
        what: "kubelet and containerd".to_owned(),
        remedy: "run `kilonova-lab cluster setup`".to_owned(),
    })
}

/// Builds the programs unless they are there. `say` is told before the minutes that it takes.
///
/// # Errors
/// When `go build` fails.
pub fn ensure(say: impl FnOnce(&str)) -> Result<PathBuf> {
    if let Ok(found) = find() {
        return Ok(found);
    }
    say("building kubelet and containerd from Go modules (once; 4 minutes on two cores)");
    let dir = directory()?;
    let part = dir.with_extension("part");
    build(&part)?;
    fs::rename(&part, &dir).map_err(Error::file("rename", part))?;
    find()
}

fn source_dir() -> PathBuf {
    repo::root().join("e2e/node-programs")
}

fn directory() -> Result<PathBuf> {
    let dir = source_dir();
    let files = ["go.mod", "go.sum"].map(|name| dir.join(name));
    let release = control_plane::release()?;
    let hash = hash::inputs(&dir, &files, &[&release, TAGS])?;
    Ok(repo::cache().join(format!("node-programs-{hash}")))
}

/// The commands are the module's tools: `go.mod` names them.
fn build(to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(Error::file("create", to))?;
    let flags = control_plane::linker_flags(&control_plane::release()?);
    let mut command = Command::new("go");
    command.args([
        "build",
        "-trimpath",
        "-tags",
        TAGS,
        "-ldflags",
        &flags,
        "-o",
    ]);
    command.arg(to).arg("tool");
    command.current_dir(source_dir()).env("CGO_ENABLED", "0");
    let status = command.status().map_err(|source| Error::Start {
        program: "go build".to_owned(),
        source,
    })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: "go build".to_owned(),
        status: status.to_string(),
        stderr: "its messages are above".to_owned(),
    })
}
