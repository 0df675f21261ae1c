//! An API server as the rest sees it: objects with resourceVersions, preconditions, finalizers,
//! status apart from spec, a log of events for each kind, and the policy that refuses writes of a
//! leader whose Lease is another's by now.

mod table;

pub use table::{Event, Kind, Table};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kilonova_crds::{Domain, Hypervisor, Instance, Segment};
use kube::ResourceExt;
use std::sync::Arc;

/// Why a request was refused: nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 409.
    #[error("the object changed meanwhile, or is there already")]
    Conflict,
    /// 404.
    #[error("the object is gone")]
    Gone,
    /// 403.
    #[error("the policy refuses it")]
    Forbidden,
}

/// The server.
#[derive(Debug, Default)]
pub struct Api {
    version: u64,
    uids: u64,
    /// How often anything but a Lease was written.
    pub writes: u64,
    /// The number of the leader's Lease.
    pub term: u64,
    /// How many writes the policy refused.
    pub fenced: u64,
    /// The number that the policy knows: it follows the Lease a little later.
    pub policy: u64,
    pub(crate) instances: Table<Instance>,
    pub(crate) domains: Table<Domain>,
    pub(crate) segments: Table<Segment>,
    pub(crate) hypervisors: Table<Hypervisor>,
    pub(crate) nodes: Table<Node>,
    pub(crate) leases: Table<Lease>,
}

impl Api {
    /// Numbers begin after that one.
    pub fn begin_at(&mut self, version: u64) {
        self.version = version;
    }

    /// The object of that name.
    #[must_use]
    pub fn get<K: Kind>(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        K::table(self).get(namespace, name).cloned()
    }

    /// All objects of a kind.
    pub fn all<K: Kind>(&self) -> impl Iterator<Item = &Arc<K>> {
        K::table(self).iter()
    }

    /// The Instance of that uid.
    #[must_use]
    pub fn instance(&self, uid: &str) -> Option<&Arc<Instance>> {
        self.instances
            .iter()
            .find(|i| i.metadata.uid.as_deref() == Some(uid))
    }

    /// A uid that no object had before.
    pub fn new_uid(&mut self) -> String {
        self.uids += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.uids)
    }

    /// What the policy says of a write that carries the number of a leadership.
    ///
    /// # Errors
    /// When it is an older one than the Lease's.
    pub fn allow(&mut self, term: u64) -> Result<(), Refusal> {
        if term < self.policy {
            self.fenced += 1;
            return Err(Refusal::Forbidden);
        }
        Ok(())
    }

    /// POST.
    ///
    /// # Errors
    /// When it is there already.
    pub fn create<K: Kind>(&mut self, mut object: K) -> Result<K, Refusal> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        if K::table(self).get(&namespace, &name).is_some() {
            return Err(Refusal::Conflict);
        }
        let uid = self.new_uid();
        let metadata = object.meta_mut();
        metadata.uid.get_or_insert(uid);
        metadata.generation = Some(1);
        Ok(self.commit(object))
    }

    /// PUT of what is not status. Without a resourceVersion it is unconditional.
    ///
    /// # Errors
    /// When it changed meanwhile, or is gone.
    pub fn replace<K: Kind>(&mut self, mut object: K) -> Result<K, Refusal> {
        let current = self.current(&object)?;
        object.keep_status_of(&current);
        let metadata = object.meta_mut();
        metadata.generation.clone_from(&current.meta().generation);
        metadata
            .resource_version
            .clone_from(&current.meta().resource_version);
        if object == *current {
            return Ok(object);
        }
        if !object.has_spec_of(&current) {
            let generation = &mut object.meta_mut().generation;
            *generation = generation.map(|g| g + 1);
        }
        Ok(self.commit(object))
    }

    /// PUT of a status, made of that state of the object.
    ///
    /// # Errors
    /// When it changed meanwhile, or is gone.
    pub fn status<K: Kind>(&mut self, of: &K, set: impl FnOnce(&mut K)) -> Result<K, Refusal> {
        let current = self.current(of)?;
        let mut object = (*current).clone();
        set(&mut object);
        if object == *current {
            return Ok(object);
        }
        Ok(self.commit(object))
    }

    /// PATCH of the finalizers of that state of the object; the last one taken off an object that
    /// is being deleted lets it go.
    ///
    /// # Errors
    /// When it changed meanwhile, or is gone.
    pub fn finalizers<K: Kind>(&mut self, of: &K, finalizers: Vec<String>) -> Result<K, Refusal> {
        let current = self.current(of)?;
        let mut object = (*current).clone();
        object.meta_mut().finalizers = Some(finalizers).filter(|f| !f.is_empty());
        let leaves = object.meta().deletion_timestamp.is_some() && object.finalizers().is_empty();
        if leaves {
            return Ok(self.remove(object));
        }
        Ok(self.commit(object))
    }

    /// DELETE; of exactly that state where it has a resourceVersion.
    ///
    /// # Errors
    /// When it changed meanwhile, or is gone.
    pub fn delete<K: Kind>(&mut self, of: &K) -> Result<(), Refusal> {
        let current = self.current(of)?;
        let mut object = (*current).clone();
        if object.finalizers().is_empty() {
            self.remove(object);
        } else if object.meta().deletion_timestamp.is_none() {
            object.meta_mut().deletion_timestamp = Some(Time(crate::clock::wall()));
            self.commit(object);
        }
        Ok(())
    }

    fn current<K: Kind>(&self, of: &K) -> Result<Arc<K>, Refusal> {
        let namespace = of.namespace().unwrap_or_default();
        let current = K::table(self).get(&namespace, &of.name_any());
        let current = current.ok_or(Refusal::Gone)?;
        let agrees = |wanted: Option<String>, is: Option<String>| wanted.is_none() || wanted == is;
        let same = agrees(of.uid(), current.uid())
            && agrees(of.resource_version(), current.resource_version());
        same.then(|| Arc::clone(current)).ok_or(Refusal::Conflict)
    }

    fn commit<K: Kind>(&mut self, object: K) -> K {
        let object = self.numbered(object);
        K::table_mut(self).set(object.clone());
        object
    }

    fn remove<K: Kind>(&mut self, object: K) -> K {
        let object = self.numbered(object);
        K::table_mut(self).remove(object.clone());
        object
    }

    fn numbered<K: Kind>(&mut self, mut object: K) -> K {
        self.version += 1;
        self.writes += u64::from(K::COUNTS);
        object.meta_mut().resource_version = Some(self.version.to_string());
        object
    }

    /// The resourceVersion of a list that is made now.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}
