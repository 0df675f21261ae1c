//! Where things are: the checkout, and `.kilonova` in it, where all that is made goes.

use std::path::{Path, PathBuf};

/// The checkout that this crate was built from.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Everything that is made goes here, and nowhere else.
#[must_use]
pub fn work() -> PathBuf {
    root().join(".kilonova")
}

/// What took long to make and depends on its inputs alone. Safe to delete while nothing runs.
#[must_use]
pub fn cache() -> PathBuf {
    work().join("cache")
}

/// The one lab that `make up` keeps.
#[must_use]
pub fn up_dir() -> PathBuf {
    work().join("lab")
}

/// The kubeconfig that `make up` leaves for the user's own shell.
#[must_use]
pub fn up_kubeconfig() -> PathBuf {
    work().join("kubeconfig")
}

/// The one cluster that `make lab` keeps.
#[must_use]
pub fn cluster_dir() -> PathBuf {
    work().join("cluster")
}

/// The kubeconfig that `make lab` leaves for the user's own shell.
#[must_use]
pub fn cluster_kubeconfig() -> PathBuf {
    work().join("cluster.kubeconfig")
}

/// The helper binary of the lab (`kilonova-lab`): this very program, or the one beside a test's program.
#[must_use]
pub fn lab_binary() -> Option<PathBuf> {
    let name = "kilonova-lab";
    let me = std::env::current_exe().ok()?;
    if me.file_name().is_some_and(|n| n == name) {
        return Some(me);
    }
    me.ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}
