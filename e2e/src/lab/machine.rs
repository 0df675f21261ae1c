//! A machine of a lab, to look at and to run commands on: a node, whoever started it.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    Result,
    process::{Namespaces, Output, ProcessId, run, run_for},
};

/// How long a guest under emulation may take to answer one command over ssh.
const SSH_LIMIT: Duration = Duration::from_mins(1);

/// What is the same for every login: nobody is asked anything, and nobody's host keys are kept.
const SSH: [&str; 13] = [
    "ssh",
    "-o",
    "BatchMode=yes",
    "-o",
    "IdentitiesOnly=yes",
    "-o",
    "StrictHostKeyChecking=no",
    "-o",
    "UserKnownHostsFile=/dev/null",
    "-o",
    "LogLevel=ERROR",
    "-o",
    "ConnectTimeout=5",
];

/// How a command gets onto a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Access {
    /// Into the namespaces of a process.
    Namespaces(ProcessId),
    /// Over the lab's network, as root with a private key.
    Ssh {
        /// The lab's first process.
        lab: ProcessId,
        /// The private key.
        key: PathBuf,
    },
}

/// A node as far as commands on it are concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    name: String,
    address: Ipv4Addr,
    access: Access,
}

impl Machine {
    pub(crate) fn new(name: String, address: Ipv4Addr, access: Access) -> Self {
        Self {
            name,
            address,
            access,
        }
    }

    /// Its name, also of its Node and Hypervisor.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the lab's network.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A command on the node, to be run with [`run`] or by other means.
    #[must_use]
    pub fn command<S: AsRef<str>>(&self, argv: impl IntoIterator<Item = S>) -> Command {
        let argv: Vec<_> = argv
            .into_iter()
            .map(|arg| arg.as_ref().to_owned())
            .collect();
        match &self.access {
            Access::Namespaces(holder) => {
                let mut words = argv.iter();
                let program = words.next().map_or("true", String::as_str);
                let mut command = Namespaces::node(*holder).command(program);
                command.args(words);
                command
            }
            Access::Ssh { lab, key } => {
                let mut command = Namespaces::lab(*lab).command("ssh");
                command.args(&SSH[1..]).arg("-i").arg(key);
                command.arg(format!("root@{}", self.address));
                let words: Vec<_> = argv.iter().map(|word| quoted(word)).collect();
                command.arg(words.join(" "));
                command
            }
        }
    }

    /// Runs a command on the node. Its failure is not an error: see [`Output::checked`].
    ///
    /// # Errors
    /// When it cannot be started or takes too long.
    pub async fn exec<S: AsRef<str>>(&self, argv: impl IntoIterator<Item = S>) -> Result<Output> {
        run(self.command(argv), "").await
    }

    /// Runs a shell script on the node, stopping at the first error in it, and gives its output.
    ///
    /// # Errors
    /// When it fails.
    pub async fn sh(&self, script: &str) -> Result<String> {
        let output = run(self.command(["bash", "-euo", "pipefail", "-s"]), script).await?;
        output.checked().map(|o| o.stdout)
    }

    /// Runs `virsh` on the node and gives its output.
    ///
    /// # Errors
    /// When it fails.
    pub async fn virsh<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        let own = ["virsh", "--quiet", "--connect", "qemu:///system"].map(str::to_owned);
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        let command = self.command(own.into_iter().chain(args));
        run(command, "").await?.checked().map(|o| o.stdout)
    }

    /// Runs a command in a network namespace of the node: a segment's (`kilonova_crds::names::segment_netns`).
    ///
    /// # Errors
    /// When it cannot be started or takes too long.
    pub async fn netns_exec<S: AsRef<str>>(
        &self,
        netns: &str,
        argv: impl IntoIterator<Item = S>,
    ) -> Result<Output> {
        run(self.netns_command(netns, argv), "").await
    }

    /// As [`Node::netns_exec`], the command alone.
    #[must_use]
    pub fn netns_command<S: AsRef<str>>(
        &self,
        netns: &str,
        argv: impl IntoIterator<Item = S>,
    ) -> Command {
        let own = ["ip", "netns", "exec", netns].map(str::to_owned);
        let argv = argv.into_iter().map(|arg| arg.as_ref().to_owned());
        self.command(own.into_iter().chain(argv))
    }

    /// Runs a command in a guest, over ssh from its segment's network namespace, as root with a private key.
    /// Its failure, and that of ssh (status 255), is not an error.
    ///
    /// # Errors
    /// When ssh cannot be started or takes too long.
    pub async fn ssh(&self, netns: &str, ip: &str, key: &Path, command: &str) -> Result<Output> {
        let key = key.display().to_string();
        let target = format!("root@{ip}");
        let own = ["-i", &key, &target, command];
        let argv = SSH.into_iter().chain(own);
        run_for(self.netns_command(netns, argv), "", SSH_LIMIT).await
    }
}

/// A word as a shell reads it back.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_gives_back_what_was_quoted() {
        for word in [
            "",
            "plain",
            "two words",
            "it's",
            "$HOME `id` \"x\" \\ ;&|",
            "a\nb",
        ] {
            let mut shell = Command::new("sh");
            let output = shell
                .arg("-c")
                .arg(format!("printf %s {}", quoted(word)))
                .output();
            assert_eq!(
                output.map(|o| o.stdout).ok().as_deref(),
                Some(word.as_bytes())
            );
        }
    }
}
