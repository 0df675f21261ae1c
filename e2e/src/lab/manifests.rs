//! What the charts carry, as the lab applies it without Helm.
//!
//! The files under test are the very ones that the charts ship. The only template expression in them that the lab
//! understands is the release's namespace; anything else is refused, so that a file never means one thing here and
//! another under Helm.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, Result, repo};

/// The namespace that the lab installs into.
pub const SYSTEM_NAMESPACE: &str = "kilonova-system";

/// The expression for the namespace.
const NAMESPACE_EXPRESSION: &str = "{{ .Release.Namespace }}";

/// The CRDs, as crdgen writes them.
pub(super) fn crds() -> Result<String> {
    let chart = repo::root().join("charts/kilonova-crds");
    let dirs = [chart.join("templates"), chart.join("crds"), chart.clone()];
    let mut files = Vec::new();
    for dir in dirs.iter().filter(|dir| dir.is_dir()) {
        for entry in fs::read_dir(dir).map_err(Error::file("read", dir))? {
            files.push(entry.map_err(Error::file("read", dir))?.path());
        }
    }
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    let texts = files
        .iter()
        .map(|path| fs::read_to_string(path).map_err(Error::file("read", path)));
    let documents = texts.collect::<Result<Vec<_>>>()?;
    let crds: Vec<_> = documents
        .iter()
        .flat_map(|text| split(text))
        .filter(|d| is_kind(d, "CustomResourceDefinition"))
        .collect();
    if crds.is_empty() {
        let problem = "there is no CustomResourceDefinition (run `make crds`)".to_owned();
        return Err(Error::Manifest {
            path: chart,
            problem,
        });
    }
    Ok(crds.join("\n---\n"))
}

/// RBAC and admission policies of the chart.
pub(super) fn rbac_and_policies() -> Result<String> {
    let dir = repo::root().join("charts/kilonova/templates");
    let files = ["rbac.yaml", "policies.yaml", "mutating.yaml"].map(|name| dir.join(name));
    let texts = files.iter().map(render).collect::<Result<Vec<_>>>()?;
    Ok(texts.join("\n---\n"))
}

fn render(path: &PathBuf) -> Result<String> {
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    substitute(path, &text)
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

/// The documents of a YAML text.
pub(super) fn split(text: &str) -> Vec<&str> {
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

/// Whether a document is of this kind.
pub(super) fn is_kind(document: &str, kind: &str) -> bool {
    document
        .lines()
        .any(|line| line.strip_prefix("kind:").is_some_and(|k| k.trim() == kind))
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
        assert!(is_kind(documents[0], "A") && is_kind(documents[1], "B"));
    }
}
