//! The scheduler's snapshot of a Hypervisor.

use crate::resources::Resources;
use k8s_openapi::api::core::v1::Node;
use kilonova_crds::v1alpha1::{Hypervisor, VirtualizationType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How far more is promised than is there, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio(pub u32);

/// What holds where a Hypervisor's spec says nothing. The defaults are Nova's
/// (`cpu_allocation_ratio` 4.0, `ram_allocation_ratio` 1.0, `disk_allocation_ratio` 1.0,
/// `reserved_host_memory_mb` 512).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Virtual CPUs for each CPU.
    pub cpu: Ratio,
    /// Memory for each byte.
    pub memory: Ratio,
    /// Disk for each byte.
    pub disk: Ratio,
    /// What is kept for the node itself.
    pub reserved: Resources,
}

/// A taint of the Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTaint {
    /// Its key.
    pub key: String,
    /// Its value; empty where it has none.
    pub value: String,
    /// What it does to what does not tolerate it.
    pub effect: TaintEffect,
}

/// What a taint does to what does not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaintEffect {
    /// Keeps it away.
    NoSchedule,
    /// Keeps it away where there is another host.
    PreferNoSchedule,
    /// Keeps it away (what is there stays: an Instance is not evicted).
    NoExecute,
}

/// What placement knows of a Hypervisor, apart from what is claimed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostState {
    /// Its name: the Node's.
    pub name: Arc<str>,
    /// Its Lease is fresh, and it has reported its capacity.
    pub ready: bool,
    /// It takes nothing new: `unschedulable` on either object, or the Hypervisor is being deleted.
    pub cordoned: bool,
    /// The Node's taints.
    pub taints: Vec<HostTaint>,
    /// The Node's labels.
    pub labels: BTreeMap<String, String>,
    /// (capacity − foreign − reserved) × overcommit.
    pub allocatable: Resources,
    /// Its architecture.
    pub architecture: Option<String>,
    /// How it runs guests.
    pub virtualization_types: Vec<VirtualizationType>,
    /// The physical networks that it has a NIC in.
    pub physical_networks: Vec<String>,
    /// How many orphans it holds.
    pub orphans: usize,
}

/// A host with more orphans than this takes nothing new until it is looked at.
pub const MAX_ORPHANS: usize = 200;

/// The taint by which an operator declares a node shut down for good (Kubernetes' non-graceful
/// node shutdown).
pub const OUT_OF_SERVICE_TAINT: &str = "node.kubernetes.io/out-of-service";

impl HostState {
    /// The snapshot. `ready`: the agent's Lease is fresh. Without a Node there are no labels and
    /// no taints.
    #[must_use]
    pub fn new(
        hypervisor: &Hypervisor,
        node: Option<&Node>,
        ready: bool,
        defaults: &Defaults,
    ) -> Self {
        let _ = (hypervisor, node, ready, defaults);
        todo!()
    }
}

/// Whether an operator declared the node shut down for good.
#[must_use]
pub fn out_of_service(node: &Node) -> bool {
    let _ = node;
    todo!()
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            cpu: Ratio(4000),
            memory: Ratio(1000),
            disk: Ratio(1000),
            reserved: Resources {
                vcpus: 0,
                memory: 512 << 20,
                disk: 0,
            },
        }
    }
}
