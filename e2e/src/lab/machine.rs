//! A machine of a lab, to look at and to run commands on: a node, whoever started it.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    Result,
    process::{Namespaces, Output, run, run_for},
};

/// How long a guest under emulation may take to answer one command over ssh.
const SSH_LIMIT: Duration = Duration::from_mins(1);

/// A node as far as commands on it are concerned.
#[derive(Clone, Debug)]
pub struct Machine {
    name: String,
    address: Ipv4Addr,
    dir: PathBuf,
    namespaces: Namespaces,
}

impl Machine {
    pub(super) fn new(
        name: String,
        address: Ipv4Addr,
        dir: PathBuf,
        namespaces: Namespaces,
    ) -> Self {
        Self {
            name,
            address,
            dir,
            namespaces,
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

    /// What is `/var/lib/kilonova` on the node, as the real machine sees it.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Its namespaces, to start more in them.
    #[must_use]
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// A command on the node, to be run with [`run`] or by other means.
    #[must_use]
    pub fn command<S: AsRef<str>>(&self, argv: impl IntoIterator<Item = S>) -> Command {
        let mut argv = argv.into_iter();
        let program = argv.next();
        let mut command = self
            .namespaces
            .command(program.as_ref().map_or("true", AsRef::as_ref));
        command.args(argv.map(|arg| arg.as_ref().to_owned()));
        command
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
        let mut command = self.command(["virsh", "--quiet", "--connect", "qemu:///system"]);
        command.args(args.into_iter().map(|arg| arg.as_ref().to_owned()));
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
        let mut command = self.command(["ip", "netns", "exec", netns]);
        command.args(argv.into_iter().map(|arg| arg.as_ref().to_owned()));
        command
    }

    /// Runs a command in a guest, over ssh from its segment's network namespace, as root with a private key.
    /// Its failure, and that of ssh (status 255), is not an error.
    ///
    /// # Errors
    /// When ssh cannot be started or takes too long.
    pub async fn ssh(&self, netns: &str, ip: &str, key: &Path, command: &str) -> Result<Output> {
        let key = key.display().to_string();
        let target = format!("root@{ip}");
        let argv = [
            "ssh",
            "-i",
            &key,
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
            &target,
            command,
        ];
        run_for(self.netns_command(netns, argv), "", SSH_LIMIT).await
    }
}
