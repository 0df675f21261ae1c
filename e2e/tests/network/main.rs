//! The data plane with real guests: what DHCP tells them, whom they reach, what becomes of their lies, and that none of
//! it suffers from restarts and damage. All tests share one lab of two nodes; each has tenants of its own. Both nodes
//! drop what is forwarded and show bridged frames to their packet filter, each in another way; the agent of `node-1`
//! has an operator's list that allows nothing, that of `node-2` one that allows two addresses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]

mod capture;
mod damage;
mod dhcp;
mod guests;
mod leftovers;
mod reach;
mod restarts;
mod spoofing;
mod uplink;
mod world;

use kilonova_crds::v1alpha1::Hypervisor;
use kilonova_e2e::{
    cloud::Cloud,
    lab::{ForwardPolicy, LabOptions, NodeOptions},
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What an operator blocks: the cluster's services, and the nodes with the control plane.
const BLOCKED: &str = "--blocked-cidrs=10.96.0.0/16,10.99.0.0/24";
/// What the operator of `node-2` allows all the same: the control plane's address, and the node's own.
const ALLOWED: &str = "--allowed-cidrs=10.99.0.1/32,10.99.0.12/32";

/// The NIC of each node that is in the physical network `lan`.
const LAN: &str = "--physical-network=lan=eth1";

/// Who breaks something of a node, or compares all that is on it, has the lab alone.
static GATE: RwLock<()> = RwLock::const_new(());

/// The lab, beside other tests.
async fn together() -> (RwLockReadGuard<'static, ()>, Cloud) {
    (GATE.read().await, cloud().await)
}

/// The lab, for the holder of the guard alone.
async fn alone() -> (RwLockWriteGuard<'static, ()>, Cloud) {
    (GATE.write().await, cloud().await)
}

async fn cloud() -> Cloud {
    let node = |name: &str, forward, args: &[&str]| NodeOptions {
        forward,
        agent_args: args.iter().map(ToString::to_string).collect(),
        ..NodeOptions::new(name)
    };
    let options = LabOptions::new("network")
        .node(node("node-1", ForwardPolicy::DropInet, &[BLOCKED, LAN]))
        .node(node(
            "node-2",
            ForwardPolicy::DropIptables,
            &[BLOCKED, ALLOWED, LAN],
        ));
    let cloud = Cloud::shared(options).await.unwrap();
    world::ensure(&cloud).await;
    // Room for the vCPUs of all tests, those that failed before included.
    let roomy = json!({"spec": {"overcommit": {"cpu": "64"}}});
    for node in cloud.lab().nodes() {
        Api::<Hypervisor>::all(cloud.client())
            .patch(
                node.name(),
                &PatchParams::default(),
                &Patch::Merge(roomy.clone()),
            )
            .await
            .unwrap();
    }
    cloud
}
