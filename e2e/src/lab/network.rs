//! The lab's network: one bridge in the lab's netns, the control plane on it, the nodes behind it.
//!
//! Every lab has the same addresses: it is alone in its netns.

use std::{net::Ipv4Addr, path::Path, process::Command};

use crate::{
    Result,
    process::{Namespaces, run},
};

/// The control plane, the image server, and the way outwards of the nodes.
pub const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// The API server's own service (the first address of [`SERVICES`]).
pub const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The range of services. There is no kube-proxy; the API server wants one.
pub const SERVICES: &str = "10.96.0.0/16";
/// The API server's port at [`CONTROL_PLANE`], and at [`SERVICE`], where pods look for it: the same, so that no
/// kube-proxy is needed in between.
pub const API_PORT: u16 = 443;
/// The image server's port at [`CONTROL_PLANE`].
pub const IMAGE_PORT: u16 = 8080;
/// The first port for metrics of the controllers; replica `n` has this plus `n`.
pub const METRICS_PORT: u16 = 9100;

/// The address of the node with this index, counted from 0: 10.99.0.11 and on.
#[must_use]
pub fn node_address(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, 11 + index)
}

/// Makes the bridge.
pub(super) async fn create(namespaces: &Namespaces, dir: &Path) -> Result<()> {
    script(
        namespaces.command("bash"),
        include_str!("../../lab/network.sh"),
        &[
            CONTROL_PLANE.to_string(),
            SERVICE.to_string(),
            dir.display().to_string(),
        ],
    )
    .await
}

/// Runs a script of ours, given on standard input.
pub(crate) async fn script(mut command: Command, text: &str, args: &[String]) -> Result<()> {
    command.args(["-euo", "pipefail", "-s", "--"]).args(args);
    run(command, text).await?.checked().map(drop)
}
