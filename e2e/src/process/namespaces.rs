//! How to start a program inside a lab or one of its nodes.

use std::{fs::File, process::Command};

use super::ProcessId;
use crate::{Error, Result};

/// The namespaces of a process, to start programs in.
#[derive(Clone, Debug)]
pub struct Namespaces {
    target: ProcessId,
    kinds: &'static [&'static str],
}

impl Namespaces {
    /// Those that this very process is in: to start a program beside it.
    ///
    /// # Errors
    /// When this process cannot be found in `/proc`.
    pub fn machine() -> Result<Self> {
        let own = i32::try_from(std::process::id()).ok();
        let own = own.and_then(ProcessId::of).ok_or_else(|| Error::Missing {
            what: "this process in /proc".to_owned(),
            remedy: "mount /proc".to_owned(),
        })?;
        Ok(Self {
            target: own,
            kinds: &["--pid"],
        })
    }

    /// Those of a lab: processes, mounts and the control plane's network.
    pub(crate) fn lab(init: ProcessId) -> Self {
        Self {
            target: init,
            kinds: &["--pid", "--mount", "--net"],
        }
    }

    /// A lab's processes and mounts, with the network of the machine: for the forwarder alone.
    pub(crate) fn lab_on_host_network(init: ProcessId) -> Self {
        Self {
            target: init,
            kinds: &["--pid", "--mount"],
        }
    }

    /// Those of a node.
    pub(crate) fn node(holder: ProcessId) -> Self {
        Self {
            target: holder,
            kinds: &["--pid", "--mount", "--net", "--uts"],
        }
    }

    /// The process whose namespaces they are.
    #[must_use]
    pub fn target(&self) -> ProcessId {
        self.target
    }

    /// A command in these namespaces. Its working directory is `/`.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg("--target")
            .arg(self.target.pid.to_string())
            .args(self.kinds)
            .arg("--")
            .arg(program);
        command
    }

    /// The network namespace, to be entered by a thread (`setns`).
    ///
    /// # Errors
    /// When the process is gone.
    pub fn network(&self) -> Result<File> {
        let path = format!("/proc/{}/ns/net", self.target.pid);
        File::open(&path).map_err(Error::file("open", path))
    }
}
