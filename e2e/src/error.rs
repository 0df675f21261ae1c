//! What can go wrong in the lab, in words that help the person who reads a failed test.

use std::{io, path::PathBuf, time::Duration};

/// Result of everything in the lab.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the lab itself, not of what is tested in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was to be done: "read", "write", "create"…
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// A program that was to run on ended at its start.
    #[error("{name} ended at its start ({status}); the end of its log:\n{log}")]
    EndedEarly {
        /// Name of the process in the lab.
        name: String,
        /// How it ended.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// A command ended with an error.
    #[error("{command}: {status}\n{stderr}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// What it wrote to standard error (and output, where that is all there is).
        stderr: String,
    },
    /// A command took too long and was killed.
    #[error("{command}: killed after {limit:?}")]
    CommandTimeout {
        /// The command line.
        command: String,
        /// How long it had.
        limit: Duration,
    },
    /// A condition did not come true in time.
    #[error("waited {limit:?} for: {what}; the last state seen: {last}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// The last state that was seen.
        last: String,
    },
    /// The API server refused, or could not be reached.
    #[error("cannot {action}")]
    Api {
        /// What was to be done.
        action: String,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// The kubeconfig that was written cannot be used.
    #[error("cannot use the lab's kubeconfig")]
    Kubeconfig(#[source] Box<kube::config::KubeconfigError>),
    /// A certificate could not be made.
    #[error("cannot make a certificate for {name}")]
    Certificate {
        /// Whose.
        name: String,
        /// Why not.
        source: rcgen::Error,
    },
    /// A system call failed.
    #[error("cannot {action}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// Why not.
        source: nix::Error,
    },
    /// JSON that cannot be read or written.
    #[error("cannot read {what}")]
    Json {
        /// What it was to be.
        what: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// Something that must have been built or installed before is not there.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// What.
        what: String,
        /// What a person can do.
        remedy: String,
    },
    /// Ctrl-C.
    #[error("interrupted; what was started is ended")]
    Interrupted,
    /// A manifest of the charts that the lab cannot apply.
    #[error("{}: {problem}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// For `map_err` on a file operation.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// For `map_err` on a request to the API server.
    pub fn api(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let action = action.into();
        move |source| Self::Api {
            action,
            source: Box::new(source),
        }
    }

    /// For `map_err` on a system call.
    pub fn system(action: &'static str) -> impl FnOnce(nix::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

/// Tells an error on standard error, with a line for each cause.
pub fn tell(error: &dyn std::error::Error) {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        eprintln!("  because: {inner}");
        cause = inner.source();
    }
}
