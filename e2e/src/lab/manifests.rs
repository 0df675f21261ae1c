//! What the charts carry, as the lab applies it without Helm.
//!
//! The files under test are the very ones that the charts ship. The only template expression in them that the lab
//! understands is the release's namespace; anything else is refused, so that a file never means one thing here and
//! another under Helm.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kube::api::DynamicObject;

use super::objects::object;
use crate::{Error, Result, repo};

/// The namespace that the lab installs into.
pub const SYSTEM_NAMESPACE: &str = "kilonova-system";

/// The expression for the namespace.
const NAMESPACE_EXPRESSION: &str = "{{ .Release.Namespace }}";

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
    read(&files)
}

/// RBAC and admission policies of the chart.
pub(super) fn rbac_and_policies() -> Result<Vec<DynamicObject>> {
    let dir = repo::root().join("charts/kilonova/templates");
    read(&["rbac.yaml", "policies.yaml", "mutating.yaml"].map(|name| dir.join(name)))
}

/// The objects in some files.
fn read(paths: &[PathBuf]) -> Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    for path in paths {
        let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
        let text = substitute(path, &text)?;
        for document in split(&text) {
            let value = serde_saphyr::from_str(document).map_err(|error| Error::Manifest {
                path: path.clone(),
                problem: error.to_string(),
            })?;
            objects.push(object(value)?);
        }
    }
    Ok(objects)
}

fn substitute(path: &Path, text: &str) -> Result<String> {
    let rendered = text.replace(NAMESPACE_EXPRESSION, SYSTEM_NAMESPACE);
    let Some((number, line)) = rendered
        .lines()
        .enumerate()
        .find(|(_, line)| line.contains("{{"))
    else {
        return Ok(rendered);
    };
    let problem = format!(
        "line {}: the lab understands no expression but {NAMESPACE_EXPRESSION}: {}",
        number + 1,
        line.trim()
    );
    Err(Error::Manifest {
        path: path.to_path_buf(),
        problem,
    })
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
#[allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is wrong"
)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_put_in_and_nothing_else_is_understood() {
        let path = Path::new("x.yaml");
        assert_eq!(
            substitute(path, "a: {{ .Release.Namespace }}").unwrap(),
            "a: kilonova-system"
        );
        let error = substitute(path, "a: 1\nb: {{ .Values.b }}")
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn documents_are_told_apart() {
        let text = "# head\n---\nkind: A\nx: |\n  ---not\n---\n# nothing\n---\nkind: B\n";
        let documents = split(text);
        assert_eq!(documents.len(), 2);
        assert!(documents[0].ends_with("---not") && documents[1] == "kind: B");
    }
}
