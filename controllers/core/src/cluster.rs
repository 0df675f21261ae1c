//! The world in memory: hosts, claims, addresses and MACs, as the objects name them.
//!
//! Everything here is a function of the latest observation of each object, and of the bindings
//! that were decided and not yet seen in the API (*assumed*). So a rebuild is: a new [`Cluster`],
//! and each object observed once. Nothing here is written anywhere.

use crate::binding::{Binding, Inputs};
use crate::host_state::{Defaults, HostState};
use crate::placement::{Filter, Weights};
use crate::resources::Resources;
use crate::wait::{Wait, WaitKey};
use k8s_openapi::api::core::v1::Node;
use kilonova_crds::node::Domain;
use kilonova_crds::v1alpha1::{Hypervisor, Instance, Network, Orphan};
use std::net::IpAddr;

/// What an operator can set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Overcommit and reserved where a Hypervisor says nothing.
    pub defaults: Defaults,
    /// The weighers' multipliers.
    pub weights: Weights,
}

/// Why a binding that never got a Domain must be taken back.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BindingFault {
    /// Its node passes the filters no more.
    #[error("node {node:?} cannot take it any more: {filter}")]
    Node {
        /// The node.
        node: String,
        /// The first filter that fails.
        filter: Filter,
    },
    /// Another instance has a better claim on one of its addresses.
    #[error("address {0} is another instance's too")]
    Address(IpAddr),
    /// Another instance has a better claim on one of its MACs.
    #[error("MAC {0} is another instance's too")]
    Mac(String),
    /// The node refused its Domain.
    #[error("node {0:?} refused it")]
    Refused(String),
    /// A Domain, or an orphan, of it is on another node.
    #[error("its domain is on node {0:?}")]
    Elsewhere(String),
}

/// The world in memory.
#[derive(Debug, Default)]
pub struct Cluster {
    settings: Settings,
}

impl Cluster {
    /// An empty world.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// A Hypervisor as it is now, with the Node of its name and whether its Lease is fresh; also
    /// its orphans. Call it when any of the three changed. Returns what that may help.
    pub fn observe_hypervisor(
        &mut self,
        hypervisor: &Hypervisor,
        node: Option<&Node>,
        ready: bool,
    ) -> Vec<WaitKey> {
        let _ = (hypervisor, node, ready, &self.settings);
        todo!()
    }

    /// The Hypervisor is deleted. Claims of bindings and Domains there stay.
    pub fn forget_hypervisor(&mut self, name: &str) -> Vec<WaitKey> {
        let _ = name;
        todo!()
    }

    /// A Network as it is now: its ranges.
    pub fn observe_network(&mut self, network: &Network) -> Vec<WaitKey> {
        let _ = network;
        todo!()
    }

    /// The Network is gone. What is still held of it stays held.
    pub fn forget_network(&mut self, uid: &str) {
        let _ = uid;
        todo!()
    }

    /// An Instance as it is now: its binding and labels. An assumed binding ends when the same one
    /// is seen here, and outlives older states of the Instance that watches deliver late.
    pub fn observe_instance(&mut self, instance: &Instance) -> Vec<WaitKey> {
        let _ = instance;
        todo!()
    }

    /// The Instance is gone from the API (not only being deleted).
    pub fn forget_instance(&mut self, uid: &str) -> Vec<WaitKey> {
        let _ = uid;
        todo!()
    }

    /// A Domain as it is now, in that node's namespace.
    pub fn observe_domain(&mut self, node: &str, domain: &Domain) -> Vec<WaitKey> {
        let _ = (node, domain);
        todo!()
    }

    /// The Domain of that Instance is gone from that node's namespace.
    pub fn forget_domain(&mut self, node: &str, instance_uid: &str) -> Vec<WaitKey> {
        let _ = (node, instance_uid);
        todo!()
    }

    /// Places the Instance, claims the room, allocates MACs and addresses: all, or nothing. The
    /// binding is assumed from then on: write it with the Instance's resourceVersion; on success
    /// observe the written Instance, on a refusal [`Cluster::undo`] it. When the answer was lost,
    /// read the Instance first.
    ///
    /// # Errors
    /// What it waits for; then nothing is held.
    pub fn bind(&mut self, inputs: &Inputs<'_>) -> Result<Binding, Wait> {
        let _ = inputs;
        todo!()
    }

    /// Assumes a binding that was not placed but found (an orphan's, a Domain's).
    pub fn assume(&mut self, instance: &Instance, binding: &Binding) -> Vec<WaitKey> {
        let _ = (instance, binding);
        todo!()
    }

    /// Gives back an assumed binding that was not written. Nothing happens where there is none.
    pub fn undo(&mut self, instance_uid: &str) -> Vec<WaitKey> {
        let _ = instance_uid;
        todo!()
    }

    /// Checks the binding of an Instance that has no Domain anywhere against the ledgers; for one
    /// that has, ask nothing. `None`: it is good.
    #[must_use]
    pub fn examine(&self, instance: &Instance) -> Option<BindingFault> {
        let _ = instance;
        todo!()
    }

    /// The host of that name, as placement sees it.
    #[must_use]
    pub fn host(&self, node: &str) -> Option<&HostState> {
        let _ = node;
        todo!()
    }

    /// What is claimed on a node.
    #[must_use]
    pub fn used(&self, node: &str) -> Resources {
        let _ = node;
        todo!()
    }

    /// How many instances claim something on a node (condition `InUse`).
    #[must_use]
    pub fn instances_on(&self, node: &str) -> u32 {
        let _ = node;
        todo!()
    }

    /// Whether a binding, a Domain or an orphan names the Network (its finalizer stays until none).
    #[must_use]
    pub fn network_in_use(&self, network_uid: &str) -> bool {
        let _ = network_uid;
        todo!()
    }

    /// Orphans that may be that Instance's: of its uid, of its namespace and name, or of the uid
    /// that its annotation names; each with its node.
    #[must_use]
    pub fn orphans_for(&self, instance: &Instance) -> Vec<(&str, &Orphan)> {
        let _ = instance;
        todo!()
    }
}
