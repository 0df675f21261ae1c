//! What the charts carry, as the lab applies it: the CRDs as crdgen writes them, and what Helm renders of the system's
//! chart with its defaults.
//!
//! Workloads are left out: a lab has no kubelet, and starts controllers and agents itself.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kube::{ResourceExt as _, api::DynamicObject};

use super::objects::object;
use crate::{Error, Result, build::Helm, process::run, repo};

/// The namespace that the lab installs into.
pub const SYSTEM_NAMESPACE: &str = "kilonova-system";
/// The namespace of the agents' pods, as the chart names it by default.
pub const AGENTS_NAMESPACE: &str = "kilonova-agents";

/// The release's name.
const RELEASE: &str = "kilonova";
/// The annotation of what is no part of a release but runs at some event.
const HOOK_ANNOTATION: &str = "helm.sh/hook";

/// The chart of the system.
pub(super) fn chart() -> PathBuf {
    repo::root().join("charts/kilonova")
}

/// The CRDs, as crdgen writes them.
pub(super) fn crds() -> Result<Vec<DynamicObject>> {
    let dir = repo::root().join("charts/kilonova-crds/templates");
    let mut files = Vec::new();
    for entry in fs::read_dir(&dir).map_err(Error::file("read", &dir))? {
        files.push(entry.map_err(Error::file("read", &dir))?.path());
    }
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    if files.is_empty() {
        let problem = "there is no CustomResourceDefinition (run `make crds`)".to_owned();
        return Err(Error::Manifest { path: dir, problem });
    }
    let mut objects = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        objects.extend(read(&path, &text)?);
    }
    Ok(objects)
}

/// What the chart installs but the workloads, for an API server of this version, which serves
/// `MutatingAdmissionPolicy` or not.
pub(super) async fn system(kube_version: &str, mutating: bool) -> Result<Vec<DynamicObject>> {
    let mut command = Helm::find()?.command();
    command.args(["template", RELEASE]).arg(chart());
    command.args([
        "--namespace",
        SYSTEM_NAMESPACE,
        "--kube-version",
        kube_version,
    ]);
    if mutating {
        let kind = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy";
        command.args(["--api-versions", kind]);
    }
    let rendered = run(command, "").await?.checked()?;
    let mut objects = read(&chart(), &rendered.stdout)?;
    objects.retain(|object| !is_workload(object) && !is_hook(object));
    Ok(objects)
}

fn is_workload(object: &DynamicObject) -> bool {
    let kind = object.types.as_ref().map(|types| types.kind.as_str());
    matches!(kind, Some("Deployment" | "DaemonSet"))
}

fn is_hook(object: &DynamicObject) -> bool {
    object.annotations().contains_key(HOOK_ANNOTATION)
}

/// The objects in a YAML text.
fn read(path: &Path, text: &str) -> Result<Vec<DynamicObject>> {
    let read = |document: &str| {
        let value = serde_saphyr::from_str(document).map_err(|error| Error::Manifest {
            path: path.to_path_buf(),
            problem: error.to_string(),
        })?;
        object(value)
    };
    split(text).into_iter().map(read).collect()
}

/// The documents of a YAML text, without those that are empty.
fn split(text: &str) -> Vec<&str> {
    let documents = text
        .split("\n---")
        .map(|d| d.trim_start_matches("---").trim());
    documents
        .filter(|d| {
            d.lines()
                .any(|line| !line.trim().is_empty() && !line.starts_with('#'))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_apart() {
        let text = "# head\n---\nkind: A\nx: |\n  ---not\n---\n# nothing\n---\nkind: B\n";
        let documents = split(text);
        assert_eq!(documents.len(), 2);
        assert!(documents[0].ends_with("---not") && documents[1] == "kind: B");
    }
}
