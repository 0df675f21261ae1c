//! How a program of a lab is started.

use std::{ffi::OsString, path::PathBuf};

use super::Namespaces;

/// How to start a service.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Where.
    pub namespaces: Namespaces,
    /// What; an absolute path, or a name to look for in PATH.
    pub program: PathBuf,
    /// With which arguments.
    pub args: Vec<OsString>,
    /// With which additions to the environment.
    pub env: Vec<(String, String)>,
}

impl Launch {
    /// A program in some namespaces, with no arguments yet.
    pub fn new(namespaces: &Namespaces, program: impl Into<PathBuf>) -> Self {
        Self {
            namespaces: namespaces.clone(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// With more arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// With an addition to the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }
}
