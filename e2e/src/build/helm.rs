//! Helm: taken from the machine where it fits, else built from `e2e/helm`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use super::go::{self, GoProgram};
use crate::{Error, Result, repo};

/// The module of Helm.
const MODULE: &str = "helm.sh/helm/v3";
/// The oldest minor release of Helm 3 that has all that is used here: `--dry-run=server`, `--hide-notes`.
const OLDEST_MINOR: u32 = 16;

/// Helm, ready to be used.
#[derive(Clone, Debug)]
pub struct Helm {
    program: PathBuf,
}

impl Helm {
    /// What is ready to be used on this machine.
    ///
    /// # Errors
    /// When there is none; `make setup` builds it.
    pub fn find() -> Result<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let found = env::split_paths(&path)
            .map(|dir| dir.join("helm"))
            .find(|program| program.is_file() && fits(program));
        if let Some(program) = found {
            return Ok(Self { program });
        }
        let dir = source_dir();
        let release = go::required(&dir, MODULE)?;
        let program = program(&dir, &release)?.path()?;
        if program.is_file() {
            return Ok(Self { program });
        }
        Err(Error::Missing {
            what: format!("Helm {release}"),
            remedy: "run `make setup`".to_owned(),
        })
    }

    /// A command of it. What it keeps goes to `.kilonova`, and no setting of the user's counts.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("HELM_") {
                command.env_remove(name);
            }
        }
        for what in ["CACHE", "CONFIG", "DATA"] {
            let dir = repo::work().join("helm").join(what.to_lowercase());
            command.env(format!("HELM_{what}_HOME"), dir);
        }
        command
    }
}

/// Builds Helm unless it is there. `say` is told before the minutes that it takes.
///
/// # Errors
/// When `go build` fails.
pub fn ensure(say: impl FnOnce(&str)) -> Result<Helm> {
    if let Ok(found) = Helm::find() {
        return Ok(found);
    }
    let dir = source_dir();
    let release = go::required(&dir, MODULE)?;
    say(&format!(
        "building Helm {release} from Go modules (once; 2 minutes on two cores)"
    ));
    let program = program(&dir, &release)?.build()?;
    Ok(Helm { program })
}

fn source_dir() -> PathBuf {
    repo::root().join("e2e/helm")
}

/// Helm with what its own release sets: its version, and that of the Kubernetes which it takes for granted where no
/// cluster answers.
fn program<'a>(dir: &'a Path, release: &'a str) -> Result<GoProgram<'a>> {
    let client = go::required(dir, "k8s.io/client-go")?;
    let minor = client.split('.').nth(1).unwrap_or_default().to_owned();
    let mut variables = vec![format!("{MODULE}/internal/version.version={release}")];
    for package in ["pkg/chartutil", "pkg/lint/rules"] {
        variables.push(format!("{MODULE}/{package}.k8sVersionMajor=1"));
        variables.push(format!("{MODULE}/{package}.k8sVersionMinor={minor}"));
    }
    Ok(GoProgram {
        dir,
        name: "helm",
        package: "helm.sh/helm/v3/cmd/helm",
        release,
        variables,
        tags: "",
        several: false,
    })
}

fn fits(program: &Path) -> bool {
    let version = Command::new(program)
        .args(["version", "--template", "{{.Version}}"])
        .output();
    version.is_ok_and(|output| is_new_enough(&String::from_utf8_lossy(&output.stdout)))
}

fn is_new_enough(version: &str) -> bool {
    let minor = version
        .trim()
        .strip_prefix("v3.")
        .and_then(|rest| rest.split('.').next());
    minor.is_some_and(|minor| {
        minor
            .parse::<u32>()
            .is_ok_and(|minor| minor >= OLDEST_MINOR)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_helm_is_not_taken() {
        assert!(is_new_enough("v3.22.0\n") && is_new_enough("v3.16.4+g7877b45"));
        for other in ["v3.9.0", "v2.17.0", "v4.0.0", "", "helm: not found"] {
            assert!(!is_new_enough(other), "{other}");
        }
    }
}
