//! The objects of one kind, and all that ever happened to them.

use super::Api;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kilonova_controllers::world::Cached;
use kilonova_crds::{Domain, Hypervisor, Instance, Segment};
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One entry of the log.
#[derive(Debug)]
pub struct Event<K> {
    /// The object as it was then.
    pub object: Arc<K>,
    /// It is gone with that.
    pub deleted: bool,
}

/// The objects of one kind, by namespace and name.
#[derive(Debug)]
pub struct Table<K> {
    objects: BTreeMap<(String, String), Arc<K>>,
    /// What happened, in order.
    pub log: Vec<Event<K>>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            log: Vec::new(),
        }
    }
}

impl<K: ResourceExt + Clone> Table<K> {
    /// The object of that name.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.objects.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values()
    }

    pub(super) fn set(&mut self, object: K) {
        let object = Arc::new(object);
        self.objects.insert(key(&*object), Arc::clone(&object));
        self.log.push(Event {
            object,
            deleted: false,
        });
    }

    pub(super) fn remove(&mut self, object: K) {
        self.objects.remove(&key(&object));
        self.log.push(Event {
            object: Arc::new(object),
            deleted: true,
        });
    }

    /// All objects as they were after the first of the log's entries.
    #[must_use]
    pub fn as_of(&self, entries: usize) -> Vec<K> {
        let mut objects = BTreeMap::new();
        for event in self.log.iter().take(entries) {
            if event.deleted {
                objects.remove(&key(&*event.object));
            } else {
                objects.insert(key(&*event.object), &event.object);
            }
        }
        objects.into_values().map(|o| (**o).clone()).collect()
    }
}

fn key<K: ResourceExt>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// A kind that changes in a schedule.
pub trait Kind: Cached + PartialEq {
    /// Whether its writes are progress, or only signs of life.
    const COUNTS: bool = true;

    /// Where it is kept.
    fn table(api: &Api) -> &Table<Self>;

    /// Where it is kept.
    fn table_mut(api: &mut Api) -> &mut Table<Self>;

    /// Takes the status of another state of it.
    fn keep_status_of(&mut self, other: &Self);

    /// Whether another state of it asks for the same.
    fn has_spec_of(&self, other: &Self) -> bool;
}

macro_rules! kind {
    ($kind:ty, $field:ident, $counts:expr $(, $status:ident)?) => {
        impl Kind for $kind {
            const COUNTS: bool = $counts;
            fn table(api: &Api) -> &Table<Self> {
                &api.$field
            }
            fn table_mut(api: &mut Api) -> &mut Table<Self> {
                &mut api.$field
            }
            fn keep_status_of(&mut self, _other: &Self) {
                $(self.$status.clone_from(&_other.$status);)?
            }
            fn has_spec_of(&self, other: &Self) -> bool {
                self.spec == other.spec
            }
        }
    };
}

kind!(Instance, instances, true, status);
kind!(Domain, domains, true, status);
kind!(Segment, segments, true, status);
kind!(Hypervisor, hypervisors, true, status);
kind!(Node, nodes, true);
kind!(Lease, leases, false);
