//! The release before this one, out of the repository's own history: what an upgrade starts from.

use std::{fs, path::PathBuf, process::Command};

use super::{images, programs, quiet};
use crate::{Error, Result, repo};

/// The commit that it was made of.
const COMMIT: &str = include_str!("../../previous-release");

/// The release before this one, built.
#[derive(Debug)]
pub struct Previous {
    dir: PathBuf,
}

impl Previous {
    /// Builds it unless it is there.
    ///
    /// # Errors
    /// When its commit is not in this checkout's history (a shallow clone), or it cannot be built.
    pub fn ensure() -> Result<Self> {
        let commit = COMMIT.trim();
        let short = commit.get(..12).unwrap_or(commit);
        let dir = repo::cache().join(format!("previous-{short}"));
        let this = Self { dir };
        let built = this.dir.join("built");
        if built.is_file() {
            return Ok(this);
        }
        let source = this.source();
        fs::create_dir_all(&source).map_err(Error::file("create", &source))?;
        let archive = this.dir.join("source.tar");
        let mut git = Command::new("git");
        git.arg("-C").arg(repo::root()).args(["archive", "-o"]);
        quiet(git.arg(&archive).arg(commit))?;
        let mut tar = Command::new("tar");
        quiet(tar.arg("-xf").arg(&archive).arg("-C").arg(&source))?;
        // Its dependencies are ours, nearly all of them: where ours were built, they are not built again. Its own
        // packages are kept apart there by their version.
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&source).args(["build", "--locked"]);
        cargo.args(["-p", "kilonova-controllers", "-p", "kilonova-agent"]);
        cargo.env("CARGO_TARGET_DIR", this.dir.join("target"));
        cargo.env("CARGO_INCREMENTAL", "0");
        if std::env::var_os("CARGO_BUILD_BUILD_DIR").is_none() {
            cargo.env("CARGO_BUILD_BUILD_DIR", programs::target_dir());
        }
        quiet(&mut cargo)?;
        fs::write(&built, commit).map_err(Error::file("write", built))?;
        Ok(this)
    }

    /// Its charts.
    #[must_use]
    pub fn charts(&self) -> PathBuf {
        self.source().join("charts")
    }

    /// Its version, which is the tag of its images.
    ///
    /// # Errors
    /// When its chart does not say it.
    pub fn version(&self) -> Result<String> {
        let path = self.charts().join("kilonova/Chart.yaml");
        let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let mut lines = text.lines();
        let version = lines.find_map(|line| line.strip_prefix("appVersion: "));
        version.map(str::to_owned).ok_or_else(|| Error::Missing {
            what: format!("appVersion in {}", path.display()),
            remedy: "name another commit in e2e/previous-release".to_owned(),
        })
    }

    /// The archives of its images.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn images(&self) -> Result<Vec<PathBuf>> {
        images::of(&self.programs(), &self.version()?)
    }

    fn programs(&self) -> PathBuf {
        self.dir.join("target/debug")
    }

    fn source(&self) -> PathBuf {
        self.dir.join("source")
    }
}
