//! Everything that is known, in one place under one lock: the stores, the indexes over them, the
//! ledgers of the core, and who waits for what.
//!
//! One lock, because a decision must see one state of it all, and because two deliveries of one
//! object (the watch's and our own write's) must reach the ledgers in the order in which the store
//! takes them. What is done under it is in memory and short; nothing is awaited.

mod changes;
mod facts;
mod images;
mod inputs;
mod kinds;
mod live;
mod nodes;
mod refusals;
#[cfg(test)]
mod tests;
mod work;

pub use facts::{Next, Now};
pub use images::{AnyImage, Reading};
pub use inputs::Decision;
pub use kinds::{Cached, NamespaceMeta, leniency};
pub use work::{ImageId, Work};

use crate::cache::store::{Change, Store, WentBack};
use crate::health::Health;
use images::Probe;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kilonova_controllers_core::cluster::{Cluster, Settings};
use kilonova_controllers_core::key::{ObjectKey, uid};
use kilonova_controllers_core::wait::WaitKey;
use kilonova_controllers_core::waiting::Waiting;
use kilonova_crds::{
    ClusterImage, Domain, Flavor, Hypervisor, Image, Instance, KeyPair, Network, NetworkClass,
    Segment,
};
use refusals::Refusals;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Where the time comes from when a change is taken in.
pub type Clock = fn() -> Instant;

/// Everything that is known.
pub struct World {
    clock: Clock,
    instances: Store<Instance>,
    networks: Store<Network>,
    images: Store<Image>,
    cluster_images: Store<ClusterImage>,
    key_pairs: Store<KeyPair>,
    flavors: Store<Flavor>,
    classes: Store<NetworkClass>,
    hypervisors: Store<Hypervisor>,
    domains: Store<Domain>,
    segments: Store<Segment>,
    nodes: Store<Node>,
    leases: Store<Lease>,
    namespaces: Store<NamespaceMeta>,

    /// Instances by uid.
    uids: HashMap<String, ObjectKey>,
    /// Node namespaces that hold a Domain, by the Instance's uid.
    domain_places: HashMap<String, BTreeSet<String>>,
    /// Node namespaces that hold a Segment, by the Network's uid.
    segment_places: HashMap<String, BTreeSet<String>>,
    /// Uids of the Instances that are bound to a node, by its name.
    bound: HashMap<String, HashSet<String>>,

    /// The ledgers.
    pub cluster: Cluster,
    /// Who waits for what.
    pub waiting: Waiting,
    /// Which agents are alive.
    pub health: Health,
    /// What was told last of each node's health.
    told_fresh: HashMap<String, bool>,
    /// Nodes that refused an Instance and have reported nothing new since.
    refused: Refusals,
    /// What reading each image's header gave, and when it is read next.
    probes: HashMap<ImageId, Probe>,
    /// Nodes whose namespace and account we made as they must be since we lead.
    ensured: HashSet<String>,
    /// Since when a node's condition `InUse` is out of date.
    in_use_since: HashMap<String, Instant>,
    /// Instances that were there without a binding when we took over, and that may have a domain
    /// somewhere, until every live node has reported its orphans.
    unsettled: HashSet<String>,
    /// Whether every live node has reported its orphans since the ledgers are built.
    orphans_known: bool,
    /// Instances whose binding may have been written, by uid.
    doubts: HashMap<String, ObjectKey>,
    /// When an Instance without a binding was first seen.
    first_seen: HashMap<String, Instant>,
    /// What is not understood of Instances, Networks and Hypervisors, by uid.
    strange: HashMap<String, String>,
    /// Segments that a Domain is about to name.
    pins: HashMap<ObjectKey, usize>,
    /// Whether the ledgers are built: every kind was listed.
    live: bool,
}

/// The work for a Network that has no segment yet.
fn without_segment(network: &Arc<Network>) -> Option<Work> {
    let status = network.status.as_ref();
    let none = status.is_none_or(|s| s.segment.is_none());
    none.then(|| Work::Network(ObjectKey::of(&network.metadata)))
}

impl World {
    /// Nothing is known yet.
    pub fn new(settings: Settings, stale_after: Duration) -> Self {
        Self {
            clock: Instant::now,
            instances: Store::default(),
            networks: Store::default(),
            images: Store::default(),
            cluster_images: Store::default(),
            key_pairs: Store::default(),
            flavors: Store::default(),
            classes: Store::default(),
            hypervisors: Store::default(),
            domains: Store::default(),
            segments: Store::default(),
            nodes: Store::default(),
            leases: Store::default(),
            namespaces: Store::default(),
            uids: HashMap::new(),
            domain_places: HashMap::new(),
            segment_places: HashMap::new(),
            bound: HashMap::new(),
            cluster: Cluster::new(settings),
            waiting: Waiting::default(),
            health: Health::new(stale_after),
            told_fresh: HashMap::new(),
            refused: Refusals::default(),
            probes: HashMap::new(),
            ensured: HashSet::new(),
            in_use_since: HashMap::new(),
            unsettled: HashSet::new(),
            orphans_known: false,
            doubts: HashMap::new(),
            first_seen: HashMap::new(),
            strange: HashMap::new(),
            pins: HashMap::new(),
            live: false,
        }
    }

    /// With another clock than the machine's.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The object of that name.
    pub fn get<K: Cached>(&mut self, namespace: &str, name: &str) -> Option<Arc<K>> {
        K::store(self).get(namespace, name).cloned()
    }

    /// The watch saw an object made or changed.
    pub fn seen<K: Cached>(&mut self, mut object: K) -> Vec<Work> {
        object.trim();
        let change = K::store(self).seen(object);
        self.take_in(change)
    }

    /// We wrote or read an object, and this was the answer.
    pub fn written<K: Cached>(&mut self, mut object: K) -> Vec<Work> {
        object.trim();
        let change = K::store(self).written(object);
        self.take_in(change)
    }

    /// The watch saw an object deleted.
    pub fn deleted<K: Cached>(&mut self, object: &K) -> Vec<Work> {
        let change = K::store(self).deleted(object);
        self.take_in(change)
    }

    /// The watch listed a kind; each object is trimmed.
    ///
    /// # Errors
    /// When the server has gone back in time.
    pub fn replaced<K: Cached>(
        &mut self,
        list: Vec<K>,
        version: u64,
    ) -> Result<Vec<Work>, WentBack> {
        let changes = K::store(self).replaced(list, version)?;
        let mut work = Vec::new();
        for change in changes {
            work.extend(self.take_in(Some(change)));
        }
        Ok(work)
    }

    fn take_in<K: Cached>(&mut self, change: Option<Change<K>>) -> Vec<Work> {
        let mut work = Vec::new();
        if let Some(change) = change {
            K::changed(self, &change, &mut work);
        }
        work
    }

    /// Of the object of that uid this is not understood, or nothing any more.
    pub fn note_strange(&mut self, uid: &str, why: Option<String>) {
        match why {
            Some(why) => self.strange.insert(uid.to_owned(), why),
            None => self.strange.remove(uid),
        };
    }

    /// What is not understood of the object of that uid: it is not to be acted upon.
    pub fn strange(&self, uid: &str) -> Option<&str> {
        self.strange.get(uid).map(String::as_str)
    }

    /// The Instance of that uid where it is not understood, and what of it. One that is being
    /// deleted is: nothing of its spec matters any more.
    pub fn strange_instance(&self, uid: &str) -> Option<(Arc<Instance>, String)> {
        let why = self.strange(uid)?.to_owned();
        let instance = self.instance(uid)?.clone();
        let stays = instance.metadata.deletion_timestamp.is_none();
        stays.then_some((instance, why))
    }

    /// Whether every kind was listed.
    pub fn synced(&self) -> bool {
        self.instances.synced()
            && self.networks.synced()
            && self.images.synced()
            && self.cluster_images.synced()
            && self.key_pairs.synced()
            && self.flavors.synced()
            && self.classes.synced()
            && self.hypervisors.synced()
            && self.domains.synced()
            && self.segments.synced()
            && self.nodes.synced()
            && self.leases.synced()
            && self.namespaces.synced()
    }

    /// Wakes whom one of these may help.
    fn wake(&self, keys: &[WaitKey], work: &mut Vec<Work>) {
        let woken = self.waiting.woken(keys);
        work.extend(woken.iter().filter_map(|key| self.instance_work(key)));
        if keys.contains(&WaitKey::Segments) {
            work.extend(self.networks.iter().filter_map(without_segment));
        }
        let contending = keys.iter().filter_map(|key| match key {
            WaitKey::SegmentOf(uid) => Some(uid.as_str()),
            _ => None,
        });
        let contending: HashSet<&str> = contending.collect();
        if !contending.is_empty() {
            let is_one = |n: &&Arc<Network>| contending.contains(uid(&n.metadata));
            let networks = self.networks.iter().filter(is_one);
            work.extend(networks.map(|n| Work::Network(ObjectKey::of(&n.metadata))));
        }
    }

    fn instance_work(&self, key: &ObjectKey) -> Option<Work> {
        let instance = self.instances.get(&key.namespace, &key.name)?;
        Some(Work::Instance(instance.metadata.uid.clone()?))
    }

    /// How many Instances there are, and how many of them wait.
    pub fn instance_counts(&self) -> (usize, usize) {
        (self.instances.count(), self.waiting.len())
    }
}
