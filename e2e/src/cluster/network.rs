//! What the nodes are plugged into: the lab's own bridge, and the physical network.

use crate::{
    Result,
    lab::{KubeletOptions, Lab, network},
};

/// The bridge of the physical network in the lab's netns.
pub(super) const TRUNK: &str = "trunk0";

/// What the ranges of the nodes' pods begin with: `10.244.1.0/24` for the first.
pub(super) const PODS: &str = "10.244";

/// Makes all of it, with the ports of some nodes.
pub(super) async fn create(lab: &Lab, nodes: &[KubeletOptions]) -> Result<()> {
    let addresses = nodes.iter().map(|node| node.address.to_string());
    let own = [PODS.to_owned(), MEMORY.to_owned()];
    let args: Vec<_> = own.into_iter().chain(addresses).collect();
    let text = include_str!("../../cluster/network.sh");
    network::script(lab.namespaces().command("bash"), text, &args).await?;
    for (index, _) in (1..).zip(nodes) {
        ports(lab, index).await?;
    }
    Ok(())
}

/// Makes the ports of a machine, counted from 1, unless they are there.
pub(super) async fn ports(lab: &Lab, index: u8) -> Result<()> {
    let text = include_str!("../../cluster/ports.sh");
    network::script(lab.namespaces().command("bash"), text, &[index.to_string()]).await
}

/// Where the nodes' memory is: a file system in memory, in the lab's mount namespace alone, and outside the lab's
/// directory, which could not be removed with it.
pub(super) const MEMORY: &str = "/dev/shm";

/// The port of a node's `eth0`; nodes are counted from 1 here.
pub(super) fn port(index: u8) -> String {
    format!("node{index}")
}

/// The port of a node's `eth1`.
pub(super) fn trunk_port(index: u8) -> String {
    format!("trunk{index}")
}

/// Whether a switch forwards what it gets at a port.
#[derive(Clone, Copy, Debug)]
pub(super) enum PortState {
    /// Nothing passes, in either direction.
    Disabled = 0,
    /// Everything does.
    Forwarding = 3,
}

/// Sets both ports of a node. They stay up: a user-mode kernel never listens again at one that was down.
pub(super) async fn set_ports(lab: &Lab, index: u8, state: PortState) -> Result<()> {
    let text = r#"for port in "$1" "$2"; do bridge link set dev "$port" state "$3"; done"#;
    let args = [port(index), trunk_port(index), (state as u8).to_string()];
    network::script(lab.namespaces().command("bash"), text, &args).await
}
