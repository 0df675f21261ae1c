//! Where the project's own programs are.

use std::path::{Path, PathBuf};

use crate::{Error, Result, repo};

/// Names a directory with other builds of the programs (of another release, of another profile).
pub const DIR_VARIABLE: &str = "KILONOVA_BIN_DIR";

/// Names the directory of the programs with failpoints, where that is another than `make failpoints` fills.
pub const FAILPOINTS_DIR_VARIABLE: &str = "KILONOVA_FAILPOINTS_BIN_DIR";

/// The profile of this very program, as Cargo names its directory: what it works with is built as it was. So users run
/// what is optimised, and tests are of programs that check themselves as they do.
pub const PROFILE: &str = if cfg!(debug_assertions) {
    "debug"
} else {
    "release"
};

/// Where programs of ours are when they have been built.
pub(super) fn dir() -> PathBuf {
    std::env::var_os(DIR_VARIABLE).map_or_else(|| target_dir().join(PROFILE), PathBuf::from)
}

/// Where a program of ours is when it has been built: `kilonova-controllers`, `kilonova-agent`.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    dir().join(name)
}

/// A program of ours that has been built.
///
/// # Errors
/// When it has not.
pub fn program(name: &str) -> Result<PathBuf> {
    program_in(&dir(), name)
}

pub(super) fn program_in(dir: &Path, name: &str) -> Result<PathBuf> {
    built(
        dir.join(name),
        "run `make setup` (for a test, `make programs`)",
    )
}

/// Where a program of ours with failpoints is when it has been built.
#[must_use]
pub fn path_with_failpoints(name: &str) -> PathBuf {
    let dir = std::env::var_os(FAILPOINTS_DIR_VARIABLE);
    let default = || target_dir().join("failpoints").join(PROFILE);
    dir.map_or_else(default, PathBuf::from).join(name)
}

/// A program of ours that has been built with failpoints.
///
/// # Errors
/// When it has not.
pub fn program_with_failpoints(name: &str) -> Result<PathBuf> {
    built(path_with_failpoints(name), "run `make failpoints`")
}

fn built(path: PathBuf, remedy: &str) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Missing {
        what: path.display().to_string(),
        remedy: remedy.to_owned(),
    })
}

/// Cargo's target directory: where this very program is, as `CARGO_TARGET_DIR` may have been set at its build only.
pub(super) fn target_dir() -> PathBuf {
    let me = std::env::current_exe().ok();
    let found = me.as_ref().and_then(|me| {
        me.ancestors()
            .find(|dir| dir.join("CACHEDIR.TAG").is_file())
    });
    found.map_or_else(|| repo::root().join("target"), PathBuf::from)
}
