//! A node of a lab: a machine of its own as far as libvirt and the agent can tell.

use std::{
    fs,
    ops::Deref,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    libvirt::Libvirt,
    machine::{Access, Machine},
    network::{self, script},
    options::NodeOptions,
};
use crate::{
    Error, Result,
    process::{Launch, Namespaces, ProcessId, Service},
};

/// One node: namespaces, libvirtd, and (once the system is there) an agent.
#[derive(Debug)]
pub struct Node {
    machine: Machine,
    dir: PathBuf,
    namespaces: Namespaces,
    options: NodeOptions,
    libvirt: Libvirt,
    /// Keeps the namespaces alive.
    _holder: Service,
}

impl Deref for Node {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl Node {
    /// Makes the node's namespaces and starts its libvirtd. `index` counts from 0.
    pub(super) async fn start(
        lab: &Namespaces,
        lab_dir: &Path,
        index: u8,
        options: &NodeOptions,
    ) -> Result<Self> {
        let name = options.name.clone();
        let dir = lab_dir.join("nodes").join(&name);
        fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
        let logs = lab_dir.join("logs").join(&name);
        let launch = Launch::new(lab, "unshare");
        let launch = launch.args([
            "--net",
            "--mount",
            "--uts",
            "--propagation",
            "private",
            "sleep",
            "infinity",
        ]);
        let holder = Service::new(format!("{name} holder"), logs.join("holder.log"), launch);
        let namespaces = Namespaces::node(wait_for_sleep(&holder).await?);
        let address = network::node_address(index);
        connect(lab, &namespaces, index).await?;
        let args = [
            name.clone(),
            address.to_string(),
            network::CONTROL_PLANE.to_string(),
            dir.display().to_string(),
            options.forward.name().to_owned(),
        ];
        script(
            namespaces.command("bash"),
            include_str!("../../lab/node.sh"),
            &args,
        )
        .await?;
        let libvirt = Libvirt::new(&name, &namespaces, &dir, &logs);
        libvirt.start().await?;
        let access = Access::Namespaces(namespaces.target());
        Ok(Self {
            machine: Machine::new(name, address, access),
            dir,
            namespaces,
            options: options.clone(),
            libvirt,
            _holder: holder,
        })
    }

    /// Its namespaces, to start more in them.
    #[must_use]
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// What is `/var/lib/kilonova` on the node, as the real machine sees it.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// What it was asked to be.
    #[must_use]
    pub fn options(&self) -> &NodeOptions {
        &self.options
    }

    /// Its libvirtd and virtlogd.
    #[must_use]
    pub fn libvirt(&self) -> &Libvirt {
        &self.libvirt
    }
}

/// Starts the holder and waits until `unshare` has become `sleep`: only then are the namespaces its own.
async fn wait_for_sleep(holder: &Service) -> Result<ProcessId> {
    let process = holder.start()?;
    crate::wait::wait_for(
        "a node's namespaces",
        Duration::from_secs(20),
        || async move {
            if process.name() == "sleep" {
                Ok(process)
            } else {
                Err(format!("{} runs", process.name()))
            }
        },
    )
    .await
}

/// Gives the node its eth0: a veth whose other end is a port of the lab's bridge.
async fn connect(lab: &Namespaces, node: &Namespaces, index: u8) -> Result<()> {
    let port = format!("node{}", index + 1);
    let text = "ip link add name \"$1\" type veth peer name eth0 netns \"$2\"; ip link set dev \"$1\" master lab0 up";
    // The lab's own process ids count here: the command runs in its process-id namespace.
    let holder = inner_pid(node)?;
    script(lab.command("bash"), text, &[port, holder]).await
}

/// The id of a process in the innermost process-id namespace that it lives in.
fn inner_pid(node: &Namespaces) -> Result<String> {
    let path = format!("/proc/{}/status", node.target().pid);
    let status = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    let ids = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .unwrap_or_default();
    Ok(ids.split_whitespace().last().unwrap_or_default().to_owned())
}
