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
        let _ = (instance, keys);
        todo!()
    }
    /// The Instances that wait for any of these, each once, in order of their names. They stay in
    /// the index until they are set anew.
    #[must_use]
    pub fn woken<'a>(&self, keys: impl IntoIterator<Item = &'a WaitKey>) -> BTreeSet<ObjectKey> {
        let _ = (&self.keys_of, &self.waiters, keys.into_iter().next());
        todo!()
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
