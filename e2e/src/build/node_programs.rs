//! What a cluster's node runs beside the distribution's packages: kubelet and containerd, upstream's own commands,
//! built from the Go module `e2e/node-programs`.

use std::path::{Path, PathBuf};

use super::{control_plane, go::GoProgram};
use crate::{Error, Result, repo};

/// The directory with the programs, when they have been built.
///
/// # Errors
/// When they have not: `make lab` builds them.
pub fn find() -> Result<PathBuf> {
    let dir = programs(&source_dir(), &control_plane::release()?).path()?;
    if dir.is_dir() {
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
    programs(&source_dir(), &control_plane::release()?).build()
}

fn source_dir() -> PathBuf {
    repo::root().join("e2e/node-programs")
}

/// The commands are the module's tools: its `go.mod` names them, and there is no other file.
fn programs<'a>(dir: &'a Path, release: &'a str) -> GoProgram<'a> {
    GoProgram {
        dir,
        name: "node-programs",
        package: "tool",
        release,
        variables: control_plane::version_variables(release),
        // Drivers of other storage than the lab's; one of them would need a C library.
        tags: "no_btrfs,no_devmapper,no_zfs",
        several: true,
    }
}
