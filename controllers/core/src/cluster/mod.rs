//! The world in memory: hosts, claims, addresses and MACs, as the objects name them.
//!
//! Everything here is a function of the latest observation of each object, of the bindings that
//! were decided and not yet seen in the API (*assumed*), and of the Domains that are being made. So a rebuild is: a new [`Cluster`],
//! and each object observed once, in any order. Nothing here is written anywhere.
//!
//! Methods that change the world return what that may help: the [`WaitKey`]s to look up in
//! [`crate::waiting::Waiting`]. What [`Cluster::bind`] helps (others may want to be near) is
//! returned by the call after it.

mod bind;
mod dispatch;
mod named;
mod record;

pub(crate) use named::current_outcome;

use crate::host_state::{Defaults, HostState};
use crate::key::{ObjectKey, uid};
use crate::ledger::Source;
use crate::placement::{Filter, Weights};
use crate::resources::Resources;
use crate::segments::{Assigned, NoSegment, SegmentKey};
use crate::wait::WaitKey;
use k8s_openapi::api::core::v1::Node;
use kilonova_crds::names::ADOPT_ANNOTATION;
use kilonova_crds::node::{Disposition, Domain, Outcome, SegmentSpec};
use kilonova_crds::v1alpha1::{Hypervisor, Instance, Network, NetworkClass, Orphan};
use record::World;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

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
    world: World,
    orphans: BTreeMap<String, Vec<Orphan>>,
    /// Node and uid of orphans that were purged since their node last listed its own.
    purged: BTreeSet<(String, String)>,
}

impl Cluster {
    /// An empty world.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// A Hypervisor as it is now, with the Node of its name and whether its Lease is fresh; also
    /// its orphans. Call it when any of the three changed.
    pub fn observe_hypervisor(
        &mut self,
        hypervisor: &Hypervisor,
        node: Option<&Node>,
        ready: bool,
    ) -> Vec<WaitKey> {
        let state = HostState::new(hypervisor, node, ready, &self.settings.defaults);
        let name = state.name.to_string();
        let before = self.host(&name).map(|h| h.allocatable).unwrap_or_default();
        if !state.allocatable.within(before) {
            self.world.touch(WaitKey::Capacity);
        }
        if self.world.hosts.set(state) {
            self.world.touch(WaitKey::Hosts);
        }
        let status = hypervisor.status.as_ref();
        let orphans = status.map(|s| s.orphans.as_slice()).unwrap_or_default();
        self.report_orphans(&name, orphans);
        self.world.take_touched()
    }

    /// The Hypervisor is deleted, and its orphans are named no more. Claims of bindings and Domains
    /// there stay.
    pub fn forget_hypervisor(&mut self, name: &str) -> Vec<WaitKey> {
        self.world.hosts.remove(name);
        self.report_orphans(name, &[]);
        self.world.take_touched()
    }

    /// What the node lists, less what was purged since: the list is older than the purge then, and
    /// an Instance of the same name must not take over what is not there.
    fn report_orphans(&mut self, node: &str, orphans: &[Orphan]) {
        let listed = |uid: &str| orphans.iter().any(|o| o.uid == uid);
        self.purged.retain(|(n, uid)| n != node || listed(uid));
        let is_there = |o: &&Orphan| !self.purged.contains(&(node.to_owned(), o.uid.clone()));
        let held: Vec<Orphan> = orphans.iter().filter(is_there).cloned().collect();
        self.set_orphans(node, &held);
    }

    /// The node says that nothing of that orphan is left.
    fn purge_orphan(&mut self, node: &str, uid: &str) {
        let Some(listed) = self.orphans.get(node) else {
            return;
        };
        let (gone, left): (Vec<Orphan>, Vec<Orphan>) =
            listed.iter().cloned().partition(|o| o.uid == uid);
        if !gone.is_empty() {
            self.purged.insert((node.to_owned(), uid.to_owned()));
            self.set_orphans(node, &left);
        }
    }

    fn set_orphans(&mut self, node: &str, orphans: &[Orphan]) {
        let before = self.orphans.get(node).map_or(&[][..], Vec::as_slice);
        if before == orphans {
            return;
        }
        let gone: Vec<String> = before.iter().map(|o| o.uid.clone()).collect();
        for orphan in orphans {
            let key = ObjectKey::new(&orphan.namespace, &orphan.name);
            let named = named::by_orphan(orphan);
            self.world
                .name(&orphan.uid, &key, Source::Orphan, node, Some(named));
        }
        for uid in gone {
            if !orphans.iter().any(|o| o.uid == uid) {
                self.world.unname(&uid, Source::Orphan, node);
            }
        }
        if orphans.is_empty() {
            self.orphans.remove(node);
        } else {
            self.orphans.insert(node.to_owned(), orphans.to_vec());
        }
        self.world.touch(WaitKey::Orphans);
    }

    /// A Network as it is now: its ranges. One whose subnets are no subnets gives nothing.
    pub fn observe_network(&mut self, network: &Network) -> Vec<WaitKey> {
        self.world.set_network(network);
        self.world.take_touched()
    }

    /// The Network is gone. What is still held of it stays held.
    pub fn forget_network(&mut self, uid: &str) -> Vec<WaitKey> {
        self.world.addresses.forget_network(uid);
        let change = self.world.segments.forget_network(uid);
        self.world.touch_segments(change);
        self.world.take_touched()
    }

    /// A Segment on a node as it was observed before, and as it is now; `None`: not there.
    pub fn observe_segment(
        &mut self,
        before: Option<&SegmentSpec>,
        now: Option<&SegmentSpec>,
    ) -> Vec<WaitKey> {
        let held = |segment: &SegmentSpec| {
            Some((SegmentKey::of_spec(segment)?, arc(&segment.network.uid)))
        };
        // First hold, then release: what is named before and after is never free between.
        if let Some((key, uid)) = now.and_then(held) {
            let change = self.world.segments.hold(&key, &uid);
            self.world.touch_segments(change);
        }
        if let Some((key, uid)) = before.and_then(held) {
            let change = self.world.segments.release(&key, &uid);
            self.world.touch_segments(change);
        }
        self.world.take_touched()
    }

    /// The segment of a Network: the one that it has, else one that its class has free. It is
    /// assumed from then on: to be written into the Network's status. `orphans_known`: every live
    /// node has reported its orphans since these ledgers were built.
    ///
    /// # Errors
    /// Why it gets none.
    pub fn assign_segment(
        &mut self,
        network: &Network,
        class: Option<&NetworkClass>,
        namespace_labels: &BTreeMap<String, String>,
        orphans_known: bool,
    ) -> Result<Assigned, NoSegment> {
        let segments = &mut self.world.segments;
        segments.assign(network, class, namespace_labels, orphans_known)
    }

    /// An Instance as it is now: its binding and labels. An assumed binding ends when the same one
    /// is seen here, and outlives older states of the Instance that watches deliver late.
    pub fn observe_instance(&mut self, instance: &Instance) -> Vec<WaitKey> {
        self.world.observe_instance(instance);
        self.world.take_touched()
    }

    /// The Instance is gone from the API (not only being deleted).
    pub fn forget_instance(&mut self, uid: &str) -> Vec<WaitKey> {
        self.world.forget_instance(uid);
        self.world.take_touched()
    }

    /// A Domain as it is now, in that node's namespace.
    pub fn observe_domain(&mut self, node: &str, domain: &Domain) -> Vec<WaitKey> {
        let instance = &domain.spec.instance;
        let key = ObjectKey::new(&instance.namespace, &instance.name);
        let named = named::by_domain(domain);
        if domain.spec.disposition == Disposition::Purge
            && current_outcome(domain) == Some(Outcome::Purged)
        {
            self.purge_orphan(node, &instance.uid);
        }
        self.world
            .name(&instance.uid, &key, Source::Domain, node, named);
        self.world.take_touched()
    }

    /// The Domain of that Instance is gone from that node's namespace.
    pub fn forget_domain(&mut self, node: &str, instance_uid: &str) -> Vec<WaitKey> {
        self.world.unname(instance_uid, Source::Domain, node);
        self.world.take_touched()
    }

    /// Gives back an assumed binding that was not written. Nothing happens where there is none.
    pub fn undo(&mut self, instance_uid: &str) -> Vec<WaitKey> {
        self.world.unassume(instance_uid);
        self.world.take_touched()
    }

    /// The host of that name, as placement sees it.
    #[must_use]
    pub fn host(&self, node: &str) -> Option<&HostState> {
        self.world.hosts.get(node)
    }

    /// What is claimed on a node.
    #[must_use]
    pub fn used(&self, node: &str) -> Resources {
        self.world.ledger.used(node)
    }

    /// How many instances claim something on a node (condition `InUse`).
    #[must_use]
    pub fn instances_on(&self, node: &str) -> u32 {
        self.world.ledger.instances(node)
    }

    /// Whether a binding, a Domain or an orphan names the Network (its finalizer stays until none).
    #[must_use]
    pub fn network_in_use(&self, network_uid: &str) -> bool {
        self.world.macs.in_use(network_uid) || self.world.addresses.in_use(network_uid)
    }

    /// Orphans that may be that Instance's: of its uid, of its namespace and name, or of the uid
    /// that its annotation names; each with its node. An orphan that a Domain names by now is none.
    #[must_use]
    pub fn orphans_for(&self, instance: &Instance) -> Vec<(&str, &Orphan)> {
        let key = ObjectKey::of(&instance.metadata);
        let annotations = instance.metadata.annotations.as_ref();
        let named = annotations.and_then(|a| a.get(ADOPT_ANNOTATION));
        let may_be_its = |orphan: &Orphan| {
            orphan.uid == uid(&instance.metadata)
                || Some(&orphan.uid) == named
                || (orphan.namespace == key.namespace && orphan.name == key.name)
        };
        let all = self.orphans.iter();
        all.flat_map(|(node, orphans)| orphans.iter().map(move |o| (node.as_str(), o)))
            .filter(|(node, orphan)| {
                may_be_its(orphan) && !self.world.has_domain(&orphan.uid, node)
            })
            .collect()
    }
}

/// Keys that were touched, each once, in order.
type Touched = BTreeSet<WaitKey>;

fn arc(text: &str) -> Arc<str> {
    Arc::from(text)
}

#[cfg(test)]
mod tests;
