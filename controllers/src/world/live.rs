//! From a list of everything to ledgers that can be decided by.

use super::nodes::node_of_meta;
use super::{Work, World, without_segment};
use kilonova_controllers_core::key::ObjectKey;
use kilonova_crds::names::AGENT_LEASE;
use kube::ResourceExt;
use std::collections::BTreeSet;
use tokio::time::Instant;

impl World {
    /// Once every live node has renewed its Lease under our eyes it has reported its orphans, and
    /// nobody has to wait for that any more: neither Instances that may have a domain, nor Networks
    /// whose segment an orphan may be in.
    pub fn settle(&mut self, now: Instant, work: &mut Vec<Work>) {
        if !self.live || self.orphans_known {
            return;
        }
        let unreported = self.hypervisors.iter().any(|hypervisor| {
            let node = hypervisor.name_any();
            self.health.fresh(&node, now) && !self.health.renewed(&node)
        });
        if !unreported {
            self.orphans_known = true;
            work.extend(self.unsettled.drain().map(Work::Instance));
            work.extend(self.networks.iter().filter_map(without_segment));
        }
    }

    /// Takes in what came before its namespace was known to be a node's.
    pub(super) fn read_namespace(&mut self, node: &str, namespace: &str, work: &mut Vec<Work>) {
        if let Some(lease) = self.leases.get(namespace, AGENT_LEASE).cloned() {
            self.lease_seen(node, &lease, (self.clock)());
        }
        if self.live {
            let domains: Vec<_> = self.domains.within(namespace).cloned().collect();
            for domain in domains {
                let keys = self.cluster.observe_domain(node, &domain);
                self.wake(&keys, work);
            }
        }
    }

    /// Every kind was listed: builds the ledgers, and says what to look at. From now on changes are
    /// taken in as they come.
    pub fn go_live(&mut self, now: Instant) -> Vec<Work> {
        self.live = true;
        let mut work = Vec::new();
        for network in self.networks.iter() {
            let _ = self.cluster.observe_network(network);
            work.push(Work::Network(ObjectKey::of(&network.metadata)));
        }
        for instance in self.instances.iter() {
            let _ = self.cluster.observe_instance(instance);
            let status = instance.status.as_ref();
            if let Some(uid) = instance.uid() {
                if status.is_none_or(|s| s.node_name.is_none()) {
                    self.unsettled.insert(uid.clone());
                }
                work.push(Work::Instance(uid));
            }
        }
        let node_namespaces: Vec<(String, String)> = self
            .namespaces
            .iter()
            .filter_map(|n| Some((node_of_meta(n)?, n.name_any())))
            .collect();
        for (node, namespace) in &node_namespaces {
            self.read_namespace(node, namespace, &mut work);
        }
        let hypervisors = self.hypervisors.iter().map(|h| h.name_any());
        let nodes: BTreeSet<String> = hypervisors
            .chain(node_namespaces.into_iter().map(|(node, _)| node))
            .collect();
        for node in nodes {
            self.told_fresh.remove(&node);
            self.refresh_health(&node, now, &mut work);
        }
        for uid in self.domain_places.keys() {
            work.push(Work::Instance(uid.clone()));
        }
        for segment in self.segments.iter() {
            let _ = self.cluster.observe_segment(None, Some(&segment.spec));
            work.push(Work::Segment(ObjectKey::of(&segment.metadata)));
        }
        self.settle(now, &mut work);
        work
    }
}
