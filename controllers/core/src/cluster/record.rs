//! The ledgers together: each thing that an object names is in all of them, or in none.

use super::named::{self, Named, NamedPort};
use super::{Touched, arc};
use crate::addresses::Addresses;
use crate::key::{ObjectKey, uid};
use crate::ledger::{Ledger, Source};
use crate::macs::Macs;
use crate::placement::{Hosts, anti_affinity};
use crate::segments::{Change, SegmentKey, Segments};
use crate::wait::WaitKey;
use kilonova_crds::v1alpha1::{Instance, Network};
use std::collections::HashMap;
use std::sync::Arc;

/// What one object names.
#[derive(Debug)]
struct Hold {
    source: Source,
    node: Arc<str>,
    named: Named,
}

/// All that names one Instance.
#[derive(Debug, Default)]
struct Record {
    key: ObjectKey,
    /// The Instance itself is in the API.
    exists: bool,
    holds: Vec<Hold>,
}

/// The ledgers.
#[derive(Debug, Default)]
pub struct World {
    pub hosts: Hosts,
    pub ledger: Ledger,
    pub addresses: Addresses,
    pub macs: Macs,
    pub segments: Segments,
    records: HashMap<Arc<str>, Record>,
    touched: Touched,
}

impl World {
    pub fn touch(&mut self, key: WaitKey) {
        self.touched.insert(key);
    }

    pub fn take_touched(&mut self) -> Vec<WaitKey> {
        std::mem::take(&mut self.touched).into_iter().collect()
    }

    pub fn touched(&mut self) -> &mut Touched {
        &mut self.touched
    }

    /// Whom it helps, or concerns, that a segment is held by others than before.
    pub fn touch_segments(&mut self, change: Change) {
        if change.freed {
            self.touch(WaitKey::Segments);
        }
        for uid in change.contending {
            self.touch(WaitKey::SegmentOf(uid.to_string()));
        }
    }

    /// Namespace and name of the Instance with that uid, where anything names it.
    pub fn key(&self, uid: &str) -> Option<&ObjectKey> {
        self.records.get(uid).map(|record| &record.key)
    }

    /// Whether a Domain or an orphan of the Instance is anywhere, or may be by now.
    pub fn is_realised(&self, uid: &str) -> bool {
        let realises = |hold: &Hold| {
            matches!(
                hold.source,
                Source::Dispatch | Source::Domain | Source::Orphan
            )
        };
        self.records
            .get(uid)
            .is_some_and(|record| record.holds.iter().any(realises))
    }

    /// Whether there is a Domain of the Instance on that node that names anything.
    pub fn has_domain(&self, uid: &str, node: &str) -> bool {
        let is_it = |hold: &Hold| hold.source == Source::Domain && *hold.node == *node;
        self.records
            .get(uid)
            .is_some_and(|record| record.holds.iter().any(is_it))
    }

    pub fn set_network(&mut self, network: &Network) {
        let uid = arc(uid(&network.metadata));
        let segment = network.status.as_ref().and_then(|s| s.segment.as_ref());
        let segment = segment.and_then(SegmentKey::of_status);
        let change = self.segments.set_network(&uid, segment);
        self.touch_segments(change);
        let set = self.addresses.set_network(&uid, &network.spec.subnets);
        if set.unwrap_or(false) {
            self.touch(WaitKey::Addresses(uid.to_string()));
        }
    }

    /// What that source names of the Instance on that node from now on; `None`: nothing.
    pub fn name(
        &mut self,
        uid: &str,
        key: &ObjectKey,
        source: Source,
        node: &str,
        named: Option<Named>,
    ) {
        let Some(named) = named else {
            return self.unname(uid, source, node);
        };
        let owner = self.owner(uid, key);
        let record = self.records.entry(Arc::clone(&owner)).or_default();
        let found = record
            .holds
            .iter_mut()
            .find(|h| h.source == source && *h.node == *node);
        let resources = named.resources;
        let ports = named.ports.clone();
        let (node, before) = match found {
            Some(hold) if hold.named == named => return,
            Some(hold) => {
                let before = std::mem::replace(&mut hold.named, named);
                (Arc::clone(&hold.node), before.ports)
            }
            None => {
                let node = arc(node);
                record.holds.push(Hold {
                    source,
                    node: Arc::clone(&node),
                    named,
                });
                (node, Vec::new())
            }
        };
        // First hold, then release: what is named before and after is never free between.
        self.hold_ports(&owner, &ports);
        self.release_ports(&owner, &before);
        let before = self.ledger.used(&node);
        self.ledger.set(&node, &owner, source, Some(resources));
        if !before.within(self.ledger.used(&node)) {
            self.touch(WaitKey::Capacity);
        }
        self.refresh(&owner, &node);
    }

    /// That source names nothing of the Instance on that node any more.
    pub fn unname(&mut self, uid: &str, source: Source, node: &str) {
        let Some((owner, record)) = self.records.get_key_value(uid) else {
            return;
        };
        let owner = Arc::clone(owner);
        let mut holds = record.holds.iter();
        let Some(place) = holds.position(|h| h.source == source && *h.node == *node) else {
            return;
        };
        let Some(record) = self.records.get_mut(uid) else {
            return;
        };
        let hold = record.holds.swap_remove(place);
        self.release_ports(&owner, &hold.named.ports);
        let before = self.ledger.used(&hold.node);
        self.ledger.set(&hold.node, &owner, source, None);
        if !before.within(self.ledger.used(&hold.node)) {
            self.touch(WaitKey::Capacity);
        }
        self.refresh(&owner, &hold.node);
        self.drop_record(uid);
    }

    fn drop_record(&mut self, uid: &str) {
        let is_empty = |r: &Record| !r.exists && r.holds.is_empty();
        if self.records.get(uid).is_some_and(is_empty) {
            self.records.remove(uid);
        }
    }

    fn owner(&mut self, uid: &str, key: &ObjectKey) -> Arc<str> {
        if let Some((owner, _)) = self.records.get_key_value(uid) {
            return Arc::clone(owner);
        }
        let owner = arc(uid);
        let record = Record {
            key: key.clone(),
            ..Record::default()
        };
        self.records.insert(Arc::clone(&owner), record);
        owner
    }

    fn hold_ports(&mut self, owner: &Arc<str>, ports: &[NamedPort]) {
        for port in ports {
            for ip in &port.ips {
                self.addresses.hold(&port.network, *ip, owner);
            }
            if let Some(mac) = port.mac {
                self.macs.hold(&port.network, mac, owner);
            }
            if let Some(segment) = &port.segment {
                let change = self.segments.hold(segment, &port.network);
                self.touch_segments(change);
            }
        }
    }

    fn release_ports(&mut self, owner: &Arc<str>, ports: &[NamedPort]) {
        for port in ports {
            let mut freed = false;
            for ip in &port.ips {
                freed |= self.addresses.release(&port.network, *ip, owner);
            }
            if let Some(mac) = port.mac {
                freed |= self.macs.release(&port.network, mac, owner);
            }
            if freed {
                self.touch(WaitKey::Addresses(port.network.to_string()));
            }
            if let Some(segment) = &port.segment {
                let change = self.segments.release(segment, &port.network);
                self.touch_segments(change);
            }
        }
    }

    /// Tells placement what is used on the node now, and whether the Instance is there.
    fn refresh(&mut self, owner: &Arc<str>, node: &str) {
        let used = self.ledger.used(node);
        let instances = self.ledger.instances(node);
        self.hosts.set_used(node, used, instances);
        let there = self.ledger.claim(node, owner).is_some();
        let namespace = self.records.get(owner).map(|r| r.key.namespace.clone());
        let namespace = namespace.unwrap_or_default();
        if self.hosts.set_placed(&namespace, owner, node, there) {
            self.touch(WaitKey::Placements(namespace));
        }
    }

    pub fn observe_instance(&mut self, instance: &Instance) {
        let key = ObjectKey::of(&instance.metadata);
        let owner = self.owner(uid(&instance.metadata), &key);
        if let Some(record) = self.records.get_mut(&owner) {
            record.exists = true;
            record.key.clone_from(&key);
        }
        self.describe(instance, &key, &owner);
        match named::by_instance(instance) {
            Some((node, named)) => {
                self.unbind_but(&owner, Some(&node));
                let is_same = |h: &Hold| *h.node == *node && h.named == named;
                let confirmed = self.assumed(&owner).is_some_and(is_same);
                self.name(&owner, &key, Source::Binding, &node, Some(named));
                if confirmed {
                    self.unassume(&owner);
                }
            }
            None => self.unbind_but(&owner, None),
        }
    }

    fn describe(&mut self, instance: &Instance, key: &ObjectKey, owner: &Arc<str>) {
        let labels = instance.metadata.labels.clone().unwrap_or_default();
        let anti_affinity = anti_affinity(instance);
        let namespace = &key.namespace;
        if !self
            .hosts
            .describe(namespace, owner, &labels, anti_affinity)
        {
            return;
        }
        let holds = self.records.get(owner).map(|r| r.holds.as_slice());
        let nodes: Vec<_> = holds
            .unwrap_or_default()
            .iter()
            .map(|h| Arc::clone(&h.node))
            .collect();
        if nodes.is_empty() {
            return;
        }
        for node in nodes {
            self.hosts.set_placed(namespace, owner, &node, true);
        }
        self.touch(WaitKey::Placements(namespace.clone()));
    }

    /// No binding of the Instance names a node but that one.
    fn unbind_but(&mut self, uid: &str, keep: Option<&str>) {
        let holds = self.records.get(uid).map(|r| r.holds.as_slice());
        let others: Vec<_> = holds
            .unwrap_or_default()
            .iter()
            .filter(|h| h.source == Source::Binding && Some(&*h.node) != keep)
            .map(|h| Arc::clone(&h.node))
            .collect();
        for node in others {
            self.unname(uid, Source::Binding, &node);
        }
    }

    pub fn forget_instance(&mut self, uid: &str) {
        self.unbind_but(uid, None);
        self.unassume(uid);
        let Some(record) = self.records.get_mut(uid) else {
            return;
        };
        record.exists = false;
        let namespace = record.key.namespace.clone();
        self.hosts.forget(&namespace, uid);
        self.touch(WaitKey::Placements(namespace));
        self.drop_record(uid);
    }

    fn assumed(&self, uid: &str) -> Option<&Hold> {
        self.only(uid, Source::Assumed)
    }

    pub fn unassume(&mut self, uid: &str) {
        if let Some(node) = self.assumed(uid).map(|h| Arc::clone(&h.node)) {
            self.unname(uid, Source::Assumed, &node);
        }
    }

    /// The node on which a Domain of the Instance is being made.
    pub fn dispatched_to(&self, uid: &str) -> Option<&Arc<str>> {
        self.only(uid, Source::Dispatch).map(|hold| &hold.node)
    }

    /// What a source names that names one node at a time.
    fn only(&self, uid: &str, source: Source) -> Option<&Hold> {
        let record = self.records.get(uid)?;
        record.holds.iter().find(|h| h.source == source)
    }
}
