//! Who waits for what: an index, so that a change wakes exactly those whom it may help, and nobody
//! polls.

use crate::key::ObjectKey;
use crate::wait::WaitKey;
use std::collections::{BTreeSet, HashMap};

/// The index.
#[derive(Debug, Default)]
pub struct Waiting {
    keys_of: HashMap<ObjectKey, Vec<WaitKey>>,
    waiters: HashMap<WaitKey, BTreeSet<ObjectKey>>,
}

impl Waiting {
    /// From now on, that Instance waits for exactly these; none: it waits no longer.
    pub fn set(&mut self, instance: &ObjectKey, keys: Vec<WaitKey>) {
        for key in self.keys_of.remove(instance).unwrap_or_default() {
            if let Some(waiters) = self.waiters.get_mut(&key) {
                waiters.remove(instance);
                if waiters.is_empty() {
                    self.waiters.remove(&key);
                }
            }
        }
        if keys.is_empty() {
            return;
        }
        for key in &keys {
            self.waiters
                .entry(key.clone())
                .or_default()
                .insert(instance.clone());
        }
        self.keys_of.insert(instance.clone(), keys);
    }

    /// The Instances that wait for any of these, each once, in order of their names. They stay in
    /// the index until they are set anew.
    #[must_use]
    pub fn woken<'a>(&self, keys: impl IntoIterator<Item = &'a WaitKey>) -> BTreeSet<ObjectKey> {
        keys.into_iter()
            .filter_map(|key| self.waiters.get(key))
            .flatten()
            .cloned()
            .collect()
    }

    /// How many Instances wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys_of.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys_of.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_exactly_those_who_wait_and_forgets_them() {
        let (a, b) = (ObjectKey::new("shop", "a"), ObjectKey::new("shop", "b"));
        let mut waiting = Waiting::default();
        waiting.set(&a, vec![WaitKey::Hosts, WaitKey::Capacity]);
        waiting.set(&b, vec![WaitKey::Flavor("small".into())]);
        let woken = waiting.woken(&[WaitKey::Hosts, WaitKey::Capacity]);
        assert!(woken.iter().eq([&a]));
        waiting.set(&a, vec![WaitKey::Orphans]);
        assert!(waiting.woken(&[WaitKey::Hosts]).is_empty());
        waiting.set(&a, vec![]);
        waiting.set(&b, vec![]);
        assert!(waiting.is_empty() && waiting.waiters.is_empty());
    }
}
