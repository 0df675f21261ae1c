//! What is known of nodes: their Hypervisor, Node, Lease and namespace together.

use super::{NamespaceMeta, Now, Work, World, without_segment};
use crate::cache::store::Change;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kilonova_controllers_core::host_state::{cordoned, out_of_service};
use kilonova_controllers_core::hypervisors;
use kilonova_controllers_core::lifecycle::NodeFacts;
use kilonova_crds::condition::{self, types};
use kilonova_crds::names::{
    self, AGENT_LEASE, CLUSTER_ID_ANNOTATION, NODE_ANNOTATION, NODE_NAMESPACE_LABEL,
};
use kilonova_crds::v1alpha1::HypervisorStatus;
use kilonova_crds::{Condition, Hypervisor};
use kube::ResourceExt;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long the condition `InUse` may be out of date: so that instances that come and go cause no
/// write each.
const IN_USE_DELAY: Duration = Duration::from_secs(2);

/// What is to be done for a node.
pub struct NodeWork {
    /// Its Hypervisor.
    pub hypervisor: Arc<Hypervisor>,
    /// Its namespace and account are to be made, or made as they must be.
    pub ensure: bool,
    /// The controllers' conditions, where they are to be written.
    pub conditions: Option<Vec<Condition>>,
    /// When it is to be looked at again.
    pub again: Option<Instant>,
}

impl World {
    /// The node whose namespace that is, if it is one.
    pub fn node_of(&self, namespace: &str) -> Option<String> {
        node_of_meta(self.namespaces.get("", namespace)?)
    }

    /// What is known of a node.
    pub fn node_facts(&self, node: &str, now: Instant) -> NodeFacts {
        let ready = self.health.fresh(node, now);
        let deleted = self.hypervisors.get("", node).is_none();
        let tainted = self.nodes.get("", node).is_some_and(|n| out_of_service(n));
        let namespace = self.namespaces.get("", &names::node_namespace(node));
        NodeFacts {
            ready,
            // While its agent answers, the node is not gone, whatever is said of it.
            declared_gone: !ready && (tainted || deleted),
            namespace: namespace.is_some_and(|n| n.metadata.deletion_timestamp.is_none()),
        }
    }

    /// The Instances that have to do with a node: bound to it, or with a Domain there.
    pub fn instances_of(&self, node: &str) -> BTreeSet<String> {
        let mut uids: BTreeSet<_> = self
            .bound
            .get(node)
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let namespace = names::node_namespace(node);
        let domains = self.domains.within(&namespace);
        uids.extend(domains.map(|d| d.name_any()));
        uids
    }

    /// Looks whether a node's health is other than what was told last, and tells it.
    pub fn refresh_health(&mut self, node: &str, now: Instant, work: &mut Vec<Work>) {
        let fresh = self.health.fresh(node, now);
        if self.told_fresh.insert(node.to_owned(), fresh) == Some(fresh) {
            return;
        }
        self.observe_node(node, now, work);
        work.extend(self.instances_of(node).into_iter().map(Work::Instance));
        work.push(Work::Node(node.to_owned()));
    }

    /// From now on we do not see whether nodes are alive.
    pub fn lost(&mut self, now: Instant) {
        self.health.lost(now);
    }

    /// We see it, maybe again: then each node's time must be watched anew.
    pub fn contact(&mut self, now: Instant) -> Vec<Work> {
        if !self.health.contact(now) {
            return Vec::new();
        }
        self.told_fresh.keys().cloned().map(Work::Node).collect()
    }

    /// How many hypervisors there are, and how many of them are fresh.
    pub fn hypervisor_counts(&self, now: Instant) -> (usize, usize) {
        let fresh = |h: &&Arc<Hypervisor>| self.health.fresh(&h.name_any(), now);
        let ready = self.hypervisors.iter().filter(fresh).count();
        (self.hypervisors.count(), ready)
    }

    /// What is to be done for a node; `None`: it has no Hypervisor.
    pub fn hypervisor_facts(&mut self, node: &str, cluster_id: &str, now: Now) -> Option<NodeWork> {
        let hypervisor = self.hypervisors.get("", node)?.clone();
        let namespace = self.namespaces.get("", &names::node_namespace(node));
        let terminating = namespace.is_some_and(|n| n.metadata.deletion_timestamp.is_some());
        let marked = namespace.is_some_and(|n| {
            node_of_meta(n).is_some()
                && n.annotations()
                    .get(CLUSTER_ID_ANNOTATION)
                    .is_some_and(|id| id == cluster_id)
        });
        let fresh = self.health.fresh(node, now.steady);
        let instances = self.cluster.instances_on(node);
        let cordoned = cordoned(&hypervisor, self.nodes.get("", node).map(AsRef::as_ref));
        let conditions = hypervisors::conditions(&hypervisor, fresh, cordoned, instances, now.wall);
        let differs = |type_: &str| {
            let status = hypervisor.status.as_ref();
            let old = status.and_then(|s| condition::find(&s.conditions, type_));
            old != condition::find(&conditions, type_)
        };
        let in_use_at = differs(types::IN_USE).then(|| {
            *self
                .in_use_since
                .entry(node.to_owned())
                .or_insert(now.steady)
                + IN_USE_DELAY
        });
        if in_use_at.is_none() {
            self.in_use_since.remove(node);
        }
        let write = differs(types::READY) || in_use_at.is_some_and(|at| at <= now.steady);
        let stale_at = self.health.stale_at(node).filter(|_| fresh);
        Some(NodeWork {
            ensure: !(terminating || marked && self.ensured.contains(node)),
            conditions: write.then_some(conditions),
            again: stale_at
                .into_iter()
                .chain(in_use_at.filter(|_| !write))
                .min(),
            hypervisor,
        })
    }

    /// The node's namespace and account are as they must be.
    pub fn note_ensured(&mut self, node: &str) {
        self.ensured.insert(node.to_owned());
    }

    /// Whether the condition `InUse` of a node says what is true.
    pub(super) fn check_in_use(&self, node: &str, work: &mut Vec<Work>) {
        let hypervisor = self.hypervisors.get("", node);
        let status = hypervisor.and_then(|h| h.status.as_ref());
        let told = status.is_some_and(|s| condition::is_true(&s.conditions, types::IN_USE));
        if told != (self.cluster.instances_on(node) > 0) {
            work.push(Work::Node(node.to_owned()));
        }
    }

    /// Tells placement of a node that changed. Where its health changed by now too, that is told
    /// with it: else placement would know of a change that nobody looks for any more.
    fn look_at_node(&mut self, node: &str, work: &mut Vec<Work>) {
        let now = (self.clock)();
        self.refresh_health(node, now, work);
        self.observe_node(node, now, work);
    }

    /// Tells placement of a node.
    pub(super) fn observe_node(&mut self, node: &str, now: Instant, work: &mut Vec<Work>) {
        if !self.live {
            return;
        }
        let keys = match self.hypervisors.get("", node) {
            None => self.cluster.forget_hypervisor(node),
            Some(hypervisor) => {
                let fresh = self.health.fresh(node, now);
                let of_kubernetes = self.nodes.get("", node).map(AsRef::as_ref);
                self.cluster
                    .observe_hypervisor(hypervisor, of_kubernetes, fresh)
            }
        };
        self.wake(&keys, work);
    }

    pub(super) fn hypervisor_changed(&mut self, change: &Change<Hypervisor>, work: &mut Vec<Work>) {
        let Some(object) = change.new.as_ref().or(change.old.as_ref()) else {
            return;
        };
        let name = object.name_any();
        if reported(change.old.as_deref()) != reported(change.new.as_deref()) {
            self.forgive(&name, work);
        }
        self.look_at_node(&name, work);
        if change.old.is_none() || change.new.is_none() {
            work.extend(self.instances_of(&name).into_iter().map(Work::Instance));
        }
        work.push(Work::Node(name));
    }

    /// The node reported something new: what it refused may be tried there again.
    fn forgive(&mut self, node: &str, work: &mut Vec<Work>) {
        let forgiven = self.refused.forgive(node);
        work.extend(forgiven.into_iter().map(Work::Instance));
    }

    pub(super) fn node_changed<'a>(&mut self, change: &'a Change<Node>, work: &mut Vec<Work>) {
        let Some(object) = change.new.as_ref().or(change.old.as_ref()) else {
            return;
        };
        let looked_at =
            |node: &'a Option<Arc<Node>>| node.as_ref().map(|n| (&n.metadata.labels, &n.spec));
        if looked_at(&change.old) == looked_at(&change.new) {
            return;
        }
        let name = object.name_any();
        self.look_at_node(&name, work);
        let gone = |node: &Option<Arc<Node>>| node.as_deref().is_some_and(out_of_service);
        if gone(&change.old) != gone(&change.new) {
            work.extend(self.instances_of(&name).into_iter().map(Work::Instance));
        }
        work.push(Work::Node(name));
    }

    pub(super) fn lease_changed(&mut self, change: &Change<Lease>, work: &mut Vec<Work>) {
        let Some(lease) = change.new.as_ref().or(change.old.as_ref()) else {
            return;
        };
        if lease.name_any() != AGENT_LEASE {
            return;
        }
        let Some(node) = self.node_of(&lease.namespace().unwrap_or_default()) else {
            return;
        };
        let now = (self.clock)();
        match change.new.as_deref() {
            Some(lease) => self.lease_seen(&node, lease, now),
            None => self.health.forget(&node),
        }
        self.refresh_health(&node, now, work);
        self.settle(now, work);
    }

    pub(super) fn lease_seen(&mut self, node: &str, lease: &Lease, now: Instant) {
        let renewal = lease.spec.as_ref().and_then(|s| s.renew_time.as_ref());
        let renewal = renewal.map_or_else(String::new, |time| time.0.to_string());
        self.health.seen(node, renewal, now);
    }

    pub(super) fn namespace_changed(
        &mut self,
        change: &Change<NamespaceMeta>,
        work: &mut Vec<Work>,
    ) {
        let Some(object) = change.new.as_ref().or(change.old.as_ref()) else {
            return;
        };
        let name = object.name_any();
        if let Some(node) = node_of_meta(object) {
            self.read_namespace(&node, &name, work);
            let there = |o: &Option<Arc<NamespaceMeta>>| {
                o.as_ref()
                    .is_some_and(|o| o.metadata.deletion_timestamp.is_none())
            };
            if there(&change.old) != there(&change.new) {
                self.ensured.remove(&node);
                work.extend(self.instances_of(&node).into_iter().map(Work::Instance));
            }
            self.refresh_health(&node, (self.clock)(), work);
            work.push(Work::Node(node));
            return;
        }
        if change.old.is_none() {
            let waiting = self.instances.within(&name);
            work.extend(waiting.filter_map(|i| i.uid().map(Work::Instance)));
        }
        let labels = |o: &Option<Arc<NamespaceMeta>>| o.as_ref().map(|o| o.labels().clone());
        if labels(&change.old) != labels(&change.new) {
            // Classes allow namespaces by their labels.
            work.extend(self.networks.within(&name).filter_map(without_segment));
        }
    }
}

pub(super) fn node_of_meta(namespace: &NamespaceMeta) -> Option<String> {
    namespace.labels().get(NODE_NAMESPACE_LABEL)?;
    let node = namespace.annotations().get(NODE_ANNOTATION)?;
    // Whose namespace it is must be said twice: by the annotation and by its name.
    (names::node_namespace(node) == namespace.name_any()).then(|| node.clone())
}

/// What the agent reports, without the conditions, which others write too.
fn reported(hypervisor: Option<&Hypervisor>) -> Option<HypervisorStatus> {
    let mut status = hypervisor?.status.clone()?;
    status.conditions.clear();
    Some(status)
}
