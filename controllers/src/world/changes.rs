//! What follows from a change of what people write, and of Domains and Segments.

use super::{ImageId, Work, World};
use crate::cache::store::Change;
use kilonova_controllers_core::key::{ObjectKey, uid};
use kilonova_controllers_core::wait::WaitKey;
use kilonova_crds::v1alpha1::ImageKind;
use kilonova_crds::{
    ClusterImage, Domain, Flavor, Image, Instance, KeyPair, Network, NetworkClass, Segment,
};
use kube::{Resource, ResourceExt};
use std::collections::{BTreeSet, HashMap};

impl<K: Resource> Change<K> {
    /// The object as it is, or as it last was.
    fn latest(&self) -> Option<&K> {
        self.new.as_deref().or(self.old.as_deref())
    }

    fn key(&self) -> ObjectKey {
        self.latest()
            .map_or_else(|| ObjectKey::new("", ""), |o| ObjectKey::of(o.meta()))
    }

    /// The old object where it is no more: deleted, or replaced by another of its name.
    fn gone(&self) -> Option<&K> {
        let old = self.old.as_deref()?;
        let same = self.new.as_ref().is_some_and(|new| new.uid() == old.uid());
        (!same).then_some(old)
    }
}

fn node_name(instance: &Instance) -> Option<&String> {
    instance.status.as_ref()?.node_name.as_ref()
}

impl World {
    pub(super) fn instance_changed(&mut self, change: &Change<Instance>, work: &mut Vec<Work>) {
        if let Some(old) = change.old.as_deref() {
            self.unindex_instance(old);
        }
        if let Some(gone) = change.gone() {
            self.forget_instance(gone, work);
        }
        let Some(new) = change.new.as_deref() else {
            return;
        };
        let id = uid(&new.metadata).to_owned();
        self.uids.insert(id.clone(), change.key());
        if let Some(node) = node_name(new) {
            let there = self.bound.entry(node.clone()).or_default();
            there.insert(id.clone());
            self.first_seen.remove(&id);
        } else {
            self.first_seen.entry(id.clone()).or_insert_with(self.clock);
        }
        if self.live {
            let keys = self.cluster.observe_instance(new);
            self.wake(&keys, work);
            for instance in [&change.old, &change.new].into_iter().flatten() {
                if let Some(node) = node_name(instance) {
                    self.check_in_use(node, work);
                }
            }
        }
        work.push(Work::Instance(id));
    }

    fn unindex_instance(&mut self, old: &Instance) {
        if let Some(node) = node_name(old)
            && let Some(there) = self.bound.get_mut(node)
        {
            there.remove(uid(&old.metadata));
            if there.is_empty() {
                self.bound.remove(node);
            }
        }
    }

    fn forget_instance(&mut self, gone: &Instance, work: &mut Vec<Work>) {
        let id = uid(&gone.metadata);
        let key = ObjectKey::of(&gone.metadata);
        self.uids.remove(id);
        self.refused.forget(id);
        self.unsettled.remove(id);
        self.first_seen.remove(id);
        self.waiting.set(&key, Vec::new());
        if self.live {
            let keys = self.cluster.forget_instance(id);
            self.wake(&keys, work);
            if let Some(node) = node_name(gone) {
                self.check_in_use(node, work);
            }
        }
        for interface in gone.spec.interfaces() {
            let network = ObjectKey::new(key.namespace.clone(), interface.network.clone());
            work.push(Work::Network(network));
        }
        work.push(Work::Instance(id.to_owned()));
    }

    pub(super) fn network_changed(&mut self, change: &Change<Network>, work: &mut Vec<Work>) {
        let key = change.key();
        if self.live {
            let mut keys = vec![WaitKey::Network(key.clone())];
            if let Some(gone) = change.gone() {
                keys.extend(self.cluster.forget_network(uid(&gone.metadata)));
            }
            if let Some(new) = change.new.as_deref() {
                keys.extend(self.cluster.observe_network(new));
            }
            self.wake(&keys, work);
        }
        for object in [&change.old, &change.new].into_iter().flatten() {
            let id = uid(&object.metadata);
            for namespace in self.segment_places.get(id).into_iter().flatten() {
                work.push(Work::Segment(ObjectKey::new(namespace.clone(), id)));
            }
        }
        work.push(Work::Network(key));
    }

    pub(super) fn image_changed(&mut self, change: &Change<Image>, work: &mut Vec<Work>) {
        let key = change.key();
        let id = ImageId {
            kind: ImageKind::Image,
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        };
        self.wake(&[WaitKey::Image(key)], work);
        work.push(Work::Image(id));
    }

    pub(super) fn cluster_image_changed(
        &mut self,
        change: &Change<ClusterImage>,
        work: &mut Vec<Work>,
    ) {
        let name = change.key().name;
        let id = ImageId {
            kind: ImageKind::ClusterImage,
            namespace: String::new(),
            name: name.clone(),
        };
        self.wake(&[WaitKey::ClusterImage(name)], work);
        work.push(Work::Image(id));
    }

    pub(super) fn key_pair_changed(&mut self, change: &Change<KeyPair>, work: &mut Vec<Work>) {
        let key = change.key();
        self.wake(&[WaitKey::KeyPair(key.clone())], work);
        work.push(Work::KeyPair(key));
    }

    pub(super) fn flavor_changed(&mut self, change: &Change<Flavor>, work: &mut Vec<Work>) {
        self.wake(&[WaitKey::Flavor(change.key().name)], work);
    }

    pub(super) fn class_changed(&mut self, change: &Change<NetworkClass>, work: &mut Vec<Work>) {
        let class = change.key().name;
        let of_class = self.networks.iter().filter(|n| n.spec.class == class);
        work.extend(of_class.map(|n| Work::Network(ObjectKey::of(&n.metadata))));
    }

    pub(super) fn domain_changed(&mut self, change: &Change<Domain>, work: &mut Vec<Work>) {
        let ObjectKey { namespace, name } = change.key();
        index(
            &mut self.domain_places,
            &name,
            &namespace,
            change.new.is_some(),
        );
        if self.live
            && let Some(node) = self.node_of(&namespace)
        {
            let keys = match change.new.as_deref() {
                Some(new) => self.cluster.observe_domain(&node, new),
                None => self.cluster.forget_domain(&node, &name),
            };
            self.wake(&keys, work);
            self.check_in_use(&node, work);
        }
        if change.old.is_none() || change.new.is_none() {
            let ports = change.latest().map(|d| d.spec.ports.as_slice());
            for port in ports.unwrap_or_default() {
                let key = ObjectKey::new(namespace.clone(), port.segment.clone());
                work.push(Work::Segment(key));
            }
        }
        work.push(Work::Instance(name));
    }

    pub(super) fn segment_changed(&mut self, change: &Change<Segment>, work: &mut Vec<Work>) {
        let key = change.key();
        let there = change.new.is_some();
        index(&mut self.segment_places, &key.name, &key.namespace, there);
        if self.live {
            let [before, now] = [&change.old, &change.new].map(|s| s.as_ref().map(|s| &s.spec));
            let keys = self.cluster.observe_segment(before, now);
            self.wake(&keys, work);
        }
        if let Some(segment) = change.latest() {
            let network = &segment.spec.network;
            let network = ObjectKey::new(network.namespace.clone(), network.name.clone());
            work.push(Work::Network(network));
        }
        work.push(Work::Segment(key));
    }
}

/// Notes in which namespaces there are objects of a name.
fn index(places: &mut HashMap<String, BTreeSet<String>>, name: &str, namespace: &str, there: bool) {
    if there {
        let namespaces = places.entry(name.to_owned()).or_default();
        namespaces.insert(namespace.to_owned());
    } else if let Some(namespaces) = places.get_mut(name) {
        namespaces.remove(namespace);
        if namespaces.is_empty() {
            places.remove(name);
        }
    }
}
