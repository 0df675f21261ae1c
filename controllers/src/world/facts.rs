//! What is known of one Instance, and what follows: the next action and the status.

use super::{Work, World};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kilonova_controllers_core::binding::Binding;
use kilonova_controllers_core::cluster::BindingFault;
use kilonova_controllers_core::compile;
use kilonova_controllers_core::key::{ObjectKey, uid};
use kilonova_controllers_core::lifecycle::{Action, DomainAt, Facts, OrphanAt, Pause, plan};
use kilonova_controllers_core::networks::network_status;
use kilonova_controllers_core::status::{StatusInput, Verdict, instance_status};
use kilonova_crds::node::SegmentSpec;
use kilonova_crds::v1alpha1::{InstanceStatus, NetworkStatus, Orphan};
use kilonova_crds::{Domain, Instance, Network, Segment, names};
use kube::ResourceExt;
use std::sync::Arc;
use tokio::time::Instant;

/// The time, by the clock that people read and by the one that only goes forward.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// What is written into objects.
    pub wall: Timestamp,
    /// What durations are measured by.
    pub steady: Instant,
}

impl Now {
    /// This moment.
    pub fn get() -> Self {
        Self {
            wall: Timestamp::now(),
            steady: Instant::now(),
        }
    }
}

/// What is to be done next for an Instance.
#[derive(Debug)]
pub struct Next {
    /// The Instance, where it is in the API.
    pub instance: Option<Arc<Instance>>,
    /// The action.
    pub action: Action,
}

/// An Instance and its Domains.
struct Subject {
    instance: Option<Arc<Instance>>,
    namespace_uid: String,
    domains: Vec<(String, Arc<Domain>)>,
}

impl Subject {
    fn domains(&self) -> Vec<DomainAt<'_>> {
        let domains = self.domains.iter();
        domains
            .map(|(node, domain)| DomainAt { node, domain })
            .collect()
    }
}

/// A Segment as it is on a node and as it should be.
pub struct SegmentFacts {
    /// As it is.
    pub existing: Option<Arc<Segment>>,
    /// As its Network says; `None` where the Network is gone or not ready.
    pub wanted: Option<SegmentSpec>,
    /// Whether a Domain in that node namespace names it, or is about to.
    pub needed: bool,
}

impl World {
    /// The Instance of that uid.
    pub fn instance(&self, uid: &str) -> Option<&Arc<Instance>> {
        let key = self.uids.get(uid)?;
        self.instances.get(&key.namespace, &key.name)
    }

    /// The Domains of that Instance, with their nodes.
    pub fn domains_of(&self, uid: &str) -> Vec<(String, Arc<Domain>)> {
        let places = self.domain_places.get(uid).into_iter().flatten();
        places
            .filter_map(|namespace| {
                let node = self.node_of(namespace)?;
                Some((node, self.domains.get(namespace, uid)?.clone()))
            })
            .collect()
    }

    /// The orphan of that uid which that node holds.
    pub fn orphan(&self, node: &str, uid: &str) -> Option<Orphan> {
        let status = self.hypervisors.get("", node)?.status.as_ref()?;
        status.orphans.iter().find(|o| o.uid == uid).cloned()
    }

    /// What is to be done next for the Instance of that uid. `None`: its namespace has not been
    /// seen yet; when it is, the Instance is looked at again.
    pub fn next(
        &mut self,
        instance_uid: &str,
        retention: Option<SignedDuration>,
        now: Now,
    ) -> Option<Next> {
        let subject = self.subject(instance_uid)?;
        let fault = self.fault(&subject);
        let node = |node: &str| self.node_facts(node, now.steady);
        let action = plan(&Facts {
            instance: subject.instance.as_deref(),
            namespace_uid: &subject.namespace_uid,
            domains: subject.domains(),
            orphans: self.orphans_of(&subject),
            orphans_known: !self.unsettled.contains(instance_uid),
            fault,
            node: &node,
            now: now.wall,
            retention,
        });
        let instance = subject.instance;
        if let Action::CreateDomain(write) = &action {
            // Held with the decision: another's is not to come between.
            self.cluster.dispatch(&write.node, &write.spec);
        }
        if let Some(instance) = &instance {
            match &action {
                Action::Wait(Pause::Orphan(wait)) => self.note_wait(instance, Some(wait)),
                Action::Nothing | Action::Wait(_) => self.note_wait(instance, None),
                _ => {}
            }
        }
        Some(Next { instance, action })
    }

    fn subject(&self, instance_uid: &str) -> Option<Subject> {
        let instance = self.instance(instance_uid).cloned();
        let namespace_uid = match &instance {
            Some(instance) => {
                let namespace = instance.namespace().unwrap_or_default();
                self.namespaces.get("", &namespace)?.uid()?
            }
            None => String::new(),
        };
        Some(Subject {
            instance,
            namespace_uid,
            domains: self.domains_of(instance_uid),
        })
    }

    fn orphans_of(&self, subject: &Subject) -> Vec<OrphanAt<'_>> {
        let orphans = subject
            .instance
            .as_deref()
            .map(|i| self.cluster.orphans_for(i));
        let at = |(node, orphan)| OrphanAt { node, orphan };
        orphans.into_iter().flatten().map(at).collect()
    }

    /// What the ledgers say against a binding that has no Domain, and never had a disk.
    fn fault(&mut self, subject: &Subject) -> Option<BindingFault> {
        let instance = subject.instance.as_deref()?;
        let status = instance.status.as_ref()?;
        status.node_name.as_ref()?;
        let has_disk = status.image.as_ref().and_then(|i| i.disk_created) == Some(true);
        if has_disk || !subject.domains.is_empty() {
            return None;
        }
        self.cluster.examine(instance)
    }

    /// The Instance's status, with this verdict of the scheduler's.
    pub fn status(
        &self,
        instance: &Instance,
        verdict: Verdict<'_>,
        pause: Option<&Pause>,
        now: Now,
    ) -> InstanceStatus {
        let bound = instance.status.as_ref().and_then(Binding::of);
        let node = match verdict {
            Verdict::Keep => bound.map(|b| b.node),
            Verdict::Binds(binding) => Some(binding.node.clone()),
            Verdict::Waits(_) | Verdict::TakesBack(_) => None,
        };
        let domain = node.as_ref().and_then(|node| {
            let namespace = names::node_namespace(node);
            self.domains.get(&namespace, uid(&instance.metadata))
        });
        instance_status(&StatusInput {
            instance,
            verdict,
            domain: domain.map(AsRef::as_ref),
            hypervisor_ready: node.is_none_or(|node| self.health.fresh(&node, now.steady)),
            pause,
            now: now.wall,
        })
    }

    /// What is known of a Segment on a node.
    pub fn segment_facts(&self, key: &ObjectKey) -> SegmentFacts {
        let existing = self.segments.get(&key.namespace, &key.name).cloned();
        let named = |domain: &&Arc<Domain>| domain.spec.ports.iter().any(|p| p.segment == key.name);
        let network = self.network_of_segment(key, existing.as_deref());
        let network = network.filter(|network| self.strange(uid(&network.metadata)).is_none());
        SegmentFacts {
            wanted: network.and_then(|network| compile::segment_spec(network)),
            needed: self.pins.contains_key(key)
                || self.domains.within(&key.namespace).any(|d| named(&d)),
            existing,
        }
    }

    /// The Network of a Segment: as the Segment says, or as an Instance that is bound to it does.
    fn network_of_segment(
        &self,
        key: &ObjectKey,
        segment: Option<&Segment>,
    ) -> Option<&Arc<Network>> {
        let by_name = |namespace: &str, name: &str| {
            let network = self.networks.get(namespace, name)?;
            (uid(&network.metadata) == key.name).then_some(network)
        };
        if let Some(segment) = segment {
            let network = &segment.spec.network;
            return by_name(&network.namespace, &network.name);
        }
        self.domains.within(&key.namespace).find_map(|domain| {
            let instance = self.instance(&domain.name_any())?;
            let status = instance.status.as_ref()?;
            let interface = status
                .interfaces
                .iter()
                .find(|i| i.network_uid == key.name)?;
            by_name(
                &instance.namespace().unwrap_or_default(),
                &interface.network,
            )
        })
    }

    /// The Segment that a port of the Instance needs on its node, if its Network is there.
    pub fn segment_for(&self, instance: &Instance, network_uid: &str) -> Option<SegmentSpec> {
        let status = instance.status.as_ref()?;
        let interface = status
            .interfaces
            .iter()
            .find(|i| i.network_uid == network_uid)?;
        let namespace = instance.namespace().unwrap_or_default();
        let network = self.networks.get(&namespace, &interface.network)?;
        let same = uid(&network.metadata) == network_uid;
        same.then(|| compile::segment_spec(network)).flatten()
    }

    /// A Network, the status that it should have, and whether anything is attached to it.
    pub fn network_facts(
        &mut self,
        key: &ObjectKey,
        now: Now,
    ) -> Option<(Arc<Network>, NetworkStatus, bool)> {
        let network = self.networks.get(&key.namespace, &key.name)?.clone();
        let id = uid(&network.metadata);
        let in_use = self.segment_places.contains_key(id) || self.cluster.network_in_use(id);
        let class = self.classes.get("", &network.spec.class).map(AsRef::as_ref);
        let namespace = self.namespaces.get("", &key.namespace);
        let labels = namespace.map(|n| n.labels().clone()).unwrap_or_default();
        let known = self.orphans_known;
        let cluster = &mut self.cluster;
        let assign = || cluster.assign_segment(&network, class, &labels, known);
        let status = network_status(&network, assign, in_use, now.wall);
        Some((network, status, in_use))
    }

    /// From now on nobody knows whether what was decided for the Instance is written.
    pub fn doubt(&mut self, instance: &Instance) {
        let key = ObjectKey::of(&instance.metadata);
        self.doubts.insert(uid(&instance.metadata).to_owned(), key);
    }

    /// The Instance, where nobody knows whether what was decided for it is written.
    pub fn doubted(&self, instance_uid: &str) -> Option<ObjectKey> {
        self.doubts.get(instance_uid).cloned()
    }

    /// The Instance was read, or the answer is here: what was decided is in it, or is given back.
    pub fn resolved(&mut self, instance_uid: &str) -> Vec<Work> {
        self.doubts.remove(instance_uid);
        let keys = self.cluster.undo(instance_uid);
        let mut work = Vec::new();
        self.wake(&keys, &mut work);
        work
    }

    /// The node for which nobody knows whether it has a Domain of that Instance by now.
    pub fn dispatched_to(&self, instance_uid: &str) -> Option<String> {
        let node = self.cluster.dispatched_to(instance_uid);
        node.map(str::to_owned)
    }

    /// The Domain was read, or its answer is here: it is known whether it was made.
    pub fn dispatch_ended(&mut self, instance_uid: &str) -> Vec<Work> {
        let mut work = Vec::new();
        if let Some(node) = self.dispatched_to(instance_uid) {
            let keys = self.cluster.end_dispatch(instance_uid);
            self.wake(&keys, &mut work);
            self.check_in_use(&node, &mut work);
        }
        work
    }

    /// A Domain that is about to be made names this Segment: it is not deleted until unpinned.
    pub fn pin(&mut self, key: ObjectKey) {
        *self.pins.entry(key).or_default() += 1;
    }

    /// The Domain is made, or is not going to be.
    pub fn unpin(&mut self, key: &ObjectKey) {
        if let Some(count) = self.pins.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(key);
            }
        }
    }

    /// How long the Instance has been known without a binding.
    pub fn waited(&self, uid: &str, now: Now) -> Option<std::time::Duration> {
        Some(now.steady.duration_since(*self.first_seen.get(uid)?))
    }
}
