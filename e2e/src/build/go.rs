//! Programs of Go modules: built once, and cached by the hash of the module and of the release that it shall be.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::hash;
use crate::{Error, Result, repo};

/// A program that one of our Go modules builds.
pub(super) struct GoProgram<'a> {
    /// The module.
    pub dir: &'a Path,
    /// The program's name.
    pub name: &'static str,
    /// Its package: `.`, or an import path.
    pub package: &'static str,
    /// Its release, which is part of the cache's key.
    pub release: &'a str,
    /// Variables that the linker sets, as `package.name=value`.
    pub variables: Vec<String>,
    /// Build tags, separated by commas.
    pub tags: &'static str,
    /// Whether the package is a pattern for several programs: then they are in a directory of the name.
    pub several: bool,
}

impl GoProgram<'_> {
    /// Where it is once it has been built.
    pub(super) fn path(&self) -> Result<PathBuf> {
        let files = hash::files_below(self.dir)?.into_iter().filter(|path| {
            let extension = path.extension().and_then(|e| e.to_str());
            matches!(extension, Some("go" | "mod" | "sum"))
                && !path.to_string_lossy().ends_with("_test.go")
        });
        let mut words = vec![self.release, self.package, self.tags];
        words.extend(self.variables.iter().map(String::as_str));
        let hash = hash::inputs(self.dir, &files.collect::<Vec<_>>(), &words)?;
        Ok(repo::cache().join(format!("{}-{hash}/{}", self.name, self.name)))
    }

    /// Builds it; it is there whole or not at all.
    pub(super) fn build(&self) -> Result<PathBuf> {
        let path = self.path()?;
        let part = path.with_extension("part");
        let dir = if self.several {
            Some(part.as_path())
        } else {
            path.parent()
        };
        if let Some(dir) = dir {
            fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        }
        let set = self.variables.iter().flat_map(|v| ["-X", v.as_str()]);
        let flags: Vec<_> = ["-s", "-w"].into_iter().chain(set).collect();
        let flags = flags.join(" ");
        let mut command = Command::new("go");
        command
            .args([
                "build",
                "-trimpath",
                "-tags",
                self.tags,
                "-ldflags",
                &flags,
                "-o",
            ])
            .arg(&part)
            .arg(self.package);
        command.current_dir(self.dir).env("CGO_ENABLED", "0");
        let status = command.status().map_err(|source| Error::Start {
            program: "go build".to_owned(),
            source,
        })?;
        if !status.success() {
            let stderr = "its messages are above".to_owned();
            return Err(Error::Command {
                command: "go build".to_owned(),
                status: status.to_string(),
                stderr,
            });
        }
        fs::rename(&part, &path).map_err(Error::file("rename", part))?;
        Ok(path)
    }
}

/// The version of a module that a `go.mod` requires, as `v1.2.3`.
pub(super) fn required(dir: &Path, module: &str) -> Result<String> {
    let path = dir.join("go.mod");
    let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    version(&text, module).ok_or_else(|| Error::Missing {
        what: format!("a requirement of {module} in {}", path.display()),
        remedy: "run `go mod tidy` there".to_owned(),
    })
}

fn version(go_mod: &str, module: &str) -> Option<String> {
    let mut words = go_mod.lines().map(|line| {
        line.trim()
            .trim_start_matches("require ")
            .split_whitespace()
    });
    words.find_map(|mut words| {
        let version = words
            .next()
            .filter(|name| *name == module)
            .and(words.next())?;
        Some(version.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_requires_is_found() {
        let text =
            "module x\n\nrequire a.b/c v1.2.3\nrequire (\n\ta.b/c/d v0.36.1 // indirect\n)\n";
        assert_eq!(version(text, "a.b/c").as_deref(), Some("v1.2.3"));
        assert_eq!(version(text, "a.b/c/d").as_deref(), Some("v0.36.1"));
        assert_eq!(version(text, "a.b"), None);
    }
}
