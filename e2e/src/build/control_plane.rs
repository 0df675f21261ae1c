//! The programs of the control plane: taken from the machine where they fit, else built from `e2e/control-plane`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::go::GoProgram;
use crate::{Error, Result, repo};

/// The tests' usual way to name a directory with a control plane (as in controller-runtime's envtest).
const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// The programs that must be there, all of one release, to be used instead of our own build.
const PROGRAMS: [&str; 4] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kubectl",
    "etcd",
];

/// Where the control plane's programs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlPlane {
    /// One program for all parts, built by us.
    Built(PathBuf),
    /// A directory of upstream's programs.
    Directory(PathBuf),
}

impl ControlPlane {
    /// What is ready to be used on this machine.
    ///
    /// # Errors
    /// When there is none; `make setup` builds it.
    pub fn find() -> Result<Self> {
        let release = release()?;
        if let Some(dir) = candidates().into_iter().find(|dir| fits(dir, &release)) {
            return Ok(Self::Directory(dir));
        }
        let built = program(&source_dir(), &release).path()?;
        if built.is_file() {
            return Ok(Self::Built(built));
        }
        Err(Error::Missing {
            what: format!("a control plane {release}"),
            remedy: "run `make setup`".to_owned(),
        })
    }

    /// A command of one of its parts: `etcd`, `kube-apiserver`, `kubectl`…
    #[must_use]
    pub fn command(&self, part: &str) -> (PathBuf, Vec<String>) {
        match self {
            Self::Built(program) => (program.clone(), vec![part.to_owned()]),
            Self::Directory(dir) => (dir.join(part), Vec::new()),
        }
    }

    /// Makes kubectl callable by its name in `dir`: the program of many parts looks at the name it is called by.
    ///
    /// # Errors
    /// When the link cannot be made.
    pub fn link_kubectl(&self, dir: &Path) -> Result<PathBuf> {
        let (program, _) = self.command("kubectl");
        let link = dir.join("kubectl");
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        let _ = fs::remove_file(&link); // absent most of the time
        std::os::unix::fs::symlink(program, &link).map_err(Error::file("create", &link))?;
        Ok(link)
    }
}

/// Builds the control plane unless it is there. `say` is told before the minutes that it takes.
///
/// # Errors
/// When `go build` fails.
pub fn ensure(say: impl FnOnce(&str)) -> Result<ControlPlane> {
    if let Ok(found) = ControlPlane::find() {
        return Ok(found);
    }
    let release = release()?;
    say(&format!(
        "building the control plane {release} from Go modules (once; 5 minutes on two cores)"
    ));
    let program = program(&source_dir(), &release).build()?;
    Ok(ControlPlane::Built(program))
}

/// The release that the lab runs, as `v1.36.3`.
pub(super) fn release() -> Result<String> {
    let path = source_dir().join("VERSION");
    let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    Ok(text.trim().to_owned())
}

fn source_dir() -> PathBuf {
    repo::root().join("e2e/control-plane")
}

fn program<'a>(dir: &'a Path, release: &'a str) -> GoProgram<'a> {
    GoProgram {
        dir,
        name: "control-plane",
        package: ".",
        release,
        variables: version_variables(release),
        tags: "",
        several: false,
    }
}

/// What tells a program of Kubernetes its release: without it, it says `v0.0.0`.
pub(super) fn version_variables(release: &str) -> Vec<String> {
    let mut numbers = release.trim_start_matches('v').split('.');
    let (major, minor) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    let package = "k8s.io/component-base/version";
    vec![
        format!("{package}.gitVersion={release}"),
        format!("{package}.gitMajor={major}"),
        format!("{package}.gitMinor={minor}"),
    ]
}

/// Directories where the machine may have a control plane.
fn candidates() -> Vec<PathBuf> {
    let assets = env::var_os(ASSETS_VARIABLE).map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    assets.into_iter().chain(env::split_paths(&path)).collect()
}

/// Whether a directory has all programs, of the same minor release as ours.
fn fits(dir: &Path, release: &str) -> bool {
    let Some((minor, _)) = release.rsplit_once('.') else {
        return false;
    };
    PROGRAMS.iter().all(|name| dir.join(name).is_file()) && {
        let version = Command::new(dir.join("kube-apiserver"))
            .arg("--version")
            .output();
        version.is_ok_and(|v| String::from_utf8_lossy(&v.stdout).contains(&format!("{minor}.")))
    }
}
