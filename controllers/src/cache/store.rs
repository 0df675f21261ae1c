//! The latest state of each object of one kind, as the watch and our own writes deliver it.
//!
//! An object never goes back to an older resourceVersion, whichever of the two delivers it, and
//! what the watch has seen deleted is not brought back by the late answer of a write. That takes
//! comparing resourceVersions as numbers, which Kubernetes promises for one kind (1.35).

use kube::ResourceExt;
use std::collections::HashMap;
use std::sync::Arc;

/// One object before and after.
#[derive(Debug)]
pub struct Change<K> {
    /// What it was; `None`: it is new.
    pub old: Option<Arc<K>>,
    /// What it is; `None`: it is gone.
    pub new: Option<Arc<K>>,
}

/// The server's state is older than what it said before: it was restored from a backup, and
/// nothing that is remembered holds.
#[derive(Debug, thiserror::Error)]
#[error(
    "the API server went back from resourceVersion {known} to {listed}: it was restored; everything must be read anew"
)]
pub struct WentBack {
    known: u64,
    listed: u64,
}

/// The objects of one kind, by namespace (empty for cluster-scoped kinds) and name.
#[derive(Debug)]
pub struct Store<K> {
    objects: HashMap<String, HashMap<String, Arc<K>>>,
    /// How far the watch has come.
    version: u64,
    synced: bool,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self {
            objects: HashMap::new(),
            version: 0,
            synced: false,
        }
    }
}

impl<K: ResourceExt> Store<K> {
    /// The object of that name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.objects.get(namespace)?.get(name)
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values().flat_map(HashMap::values)
    }

    /// The objects of a namespace.
    pub fn within(&self, namespace: &str) -> impl Iterator<Item = &Arc<K>> {
        self.objects
            .get(namespace)
            .into_iter()
            .flat_map(HashMap::values)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.objects.values().map(HashMap::len).sum()
    }

    /// Whether a whole list has been taken in.
    pub fn synced(&self) -> bool {
        self.synced
    }

    /// The watch saw it made or changed.
    pub fn seen(&mut self, object: K) -> Option<Change<K>> {
        self.version = self.version.max(version(&object));
        self.upsert(object)
    }

    /// We wrote it, and this was the answer.
    pub fn written(&mut self, object: K) -> Option<Change<K>> {
        let known = self.get(&namespace(&object), &object.name_any()).is_some();
        // The watch is past that version and has no such object: it was deleted since.
        if !known && version(&object) <= self.version {
            return None;
        }
        self.upsert(object)
    }

    /// The watch saw it deleted.
    pub fn deleted(&mut self, object: &K) -> Option<Change<K>> {
        self.version = self.version.max(version(object));
        let (namespace, name) = (namespace(object), object.name_any());
        let cached = self.get(&namespace, &name)?;
        if version(cached.as_ref()) > version(object) {
            return None;
        }
        self.remove(&namespace, &name)
    }

    /// A new list, complete at `listed`.
    ///
    /// # Errors
    /// When the server has gone back in time.
    pub fn replaced(&mut self, list: Vec<K>, listed: u64) -> Result<Vec<Change<K>>, WentBack> {
        if listed < self.version {
            let known = self.version;
            return Err(WentBack { known, listed });
        }
        let kept: std::collections::HashSet<(String, String)> =
            list.iter().map(|o| (namespace(o), o.name_any())).collect();
        // What is newer than the list is a write of ours that it does not show yet.
        let gone: Vec<(String, String)> = self
            .iter()
            .filter(|o| version(o.as_ref()) <= listed)
            .map(|o| (namespace(o.as_ref()), o.name_any()))
            .filter(|key| !kept.contains(key))
            .collect();
        let mut changes: Vec<_> = gone
            .iter()
            .filter_map(|(namespace, name)| self.remove(namespace, name))
            .collect();
        changes.extend(list.into_iter().filter_map(|o| self.upsert(o)));
        self.version = listed;
        self.synced = true;
        Ok(changes)
    }

    fn upsert(&mut self, object: K) -> Option<Change<K>> {
        let (namespace, name) = (namespace(&object), object.name_any());
        let old = self.get(&namespace, &name).cloned();
        if old
            .as_ref()
            .is_some_and(|old| version(old.as_ref()) >= version(&object))
        {
            return None;
        }
        let new = Arc::new(object);
        self.objects
            .entry(namespace)
            .or_default()
            .insert(name, new.clone());
        Some(Change {
            old,
            new: Some(new),
        })
    }

    fn remove(&mut self, namespace: &str, name: &str) -> Option<Change<K>> {
        let within = self.objects.get_mut(namespace)?;
        let old = within.remove(name);
        if within.is_empty() {
            self.objects.remove(namespace);
        }
        Some(Change {
            old: Some(old?),
            new: None,
        })
    }
}

fn namespace<K: ResourceExt>(object: &K) -> String {
    object.namespace().unwrap_or_default()
}

/// The resourceVersion as a number; 0 where it is none, which is older than anything.
fn version<K: ResourceExt>(object: &K) -> u64 {
    let version = object.meta().resource_version.as_deref();
    version.and_then(|v| v.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn object(name: &str, version: u64) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some("shop".to_owned()),
                name: Some(name.to_owned()),
                resource_version: Some(version.to_string()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn versions(store: &Store<ConfigMap>) -> Vec<(String, u64)> {
        let mut all: Vec<_> = store
            .iter()
            .map(|o| (o.name_any(), version(o.as_ref())))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn nothing_goes_back() {
        let mut store = Store::default();
        store.replaced(vec![object("a", 5)], 10).unwrap();
        assert!(store.written(object("a", 12)).is_some());
        assert!(store.seen(object("a", 11)).is_none());
        assert!(store.seen(object("a", 12)).is_none());
        assert!(store.deleted(&object("a", 9)).is_none());
        assert!(
            store
                .replaced(vec![object("a", 11)], 12)
                .unwrap()
                .is_empty()
        );
        assert_eq!(versions(&store), [("a".to_owned(), 12)]);
    }

    #[test]
    fn what_is_deleted_is_not_brought_back() {
        let mut store = Store::default();
        store.replaced(vec![object("a", 5)], 10).unwrap();
        assert!(store.deleted(&object("a", 20)).is_some());
        assert!(store.written(object("a", 15)).is_none());
        assert_eq!(store.count(), 0);
        assert!(store.written(object("a", 25)).is_some());
        assert!(store.deleted(&object("a", 20)).is_none());
        assert_eq!(versions(&store), [("a".to_owned(), 25)]);
    }

    #[test]
    fn a_list_removes_what_it_does_not_show_unless_it_is_newer() {
        let mut store = Store::default();
        store
            .replaced(vec![object("a", 5), object("b", 6)], 10)
            .unwrap();
        store.written(object("c", 30)).unwrap();
        let changes = store.replaced(vec![object("b", 6)], 20).unwrap();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].old.as_ref().unwrap().name_any(), "a");
        assert_eq!(
            versions(&store),
            [("b".to_owned(), 6), ("c".to_owned(), 30)]
        );
        assert!(store.replaced(Vec::new(), 19).is_err());
    }
}
