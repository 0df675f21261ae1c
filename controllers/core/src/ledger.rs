//! Claims: what each instance occupies on each node, counted once however many objects name it.
//!
//! A claim is keyed by node and Instance uid, and has up to one amount from each [`Source`]. What
//! counts is the larger of each resource; the claim ends when the last source names it no more.
//! Nothing is refused here: what a Domain or an orphan occupies is a fact. Placement refuses.

use crate::resources::Resources;
use std::collections::HashMap;
use std::sync::Arc;

/// Which kind of object names a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A binding that was decided and not yet seen in the API.
    Assumed,
    /// The binding in an Instance's status.
    Binding,
    /// A Domain that is being made: nobody knows yet whether it is.
    Dispatch,
    /// A Domain.
    Domain,
    /// A held orphan in a Hypervisor's status.
    Orphan,
}

/// All of them.
const SOURCES: [Source; 5] = [
    Source::Assumed,
    Source::Binding,
    Source::Dispatch,
    Source::Domain,
    Source::Orphan,
];

/// What one instance claims on one node, by source.
#[derive(Clone, Copy, Debug, Default)]
struct Entry([Option<Resources>; SOURCES.len()]);

impl Entry {
    fn amount(&self) -> Resources {
        self.0
            .iter()
            .flatten()
            .fold(Resources::ZERO, |sum, r| sum.max(*r))
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

/// Sums that cannot saturate, so that what is added can be taken off again.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    vcpus: u128,
    memory: u128,
    disk: u128,
}

impl Sum {
    fn add(&mut self, r: Resources) {
        self.vcpus += u128::from(r.vcpus);
        self.memory += u128::from(r.memory);
        self.disk += u128::from(r.disk);
    }

    fn subtract(&mut self, r: Resources) {
        self.vcpus -= u128::from(r.vcpus);
        self.memory -= u128::from(r.memory);
        self.disk -= u128::from(r.disk);
    }

    fn resources(self) -> Resources {
        let capped = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
        Resources {
            vcpus: capped(self.vcpus),
            memory: capped(self.memory),
            disk: capped(self.disk),
        }
    }
}

#[derive(Debug, Default)]
struct NodeClaims {
    sum: Sum,
    entries: HashMap<Arc<str>, Entry>,
}

/// The claims of all nodes.
#[derive(Debug, Default)]
pub struct Ledger {
    nodes: HashMap<Arc<str>, NodeClaims>,
}

impl Ledger {
    /// What that source names from now on of that instance on that node; `None`: nothing.
    pub fn set(
        &mut self,
        node: &Arc<str>,
        uid: &Arc<str>,
        source: Source,
        amount: Option<Resources>,
    ) {
        if amount.is_none() && !self.nodes.contains_key(node) {
            return;
        }
        let claims = self.nodes.entry(Arc::clone(node)).or_default();
        let entry = claims.entries.entry(Arc::clone(uid)).or_default();
        let before = entry.amount();
        entry.0[source as usize] = amount;
        let after = entry.amount();
        if entry.is_empty() {
            claims.entries.remove(uid);
        }
        claims.sum.subtract(before);
        claims.sum.add(after);
        if claims.entries.is_empty() {
            self.nodes.remove(node);
        }
    }

    /// What is claimed on a node.
    #[must_use]
    pub fn used(&self, node: &str) -> Resources {
        self.nodes
            .get(node)
            .map(|claims| claims.sum.resources())
            .unwrap_or_default()
    }

    /// How many instances claim something on a node.
    #[must_use]
    pub fn instances(&self, node: &str) -> u32 {
        let count = self.nodes.get(node).map_or(0, |c| c.entries.len());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// What that instance claims on that node.
    #[must_use]
    pub fn claim(&self, node: &str, uid: &str) -> Option<Resources> {
        let entry = self.nodes.get(node)?.entries.get(uid)?;
        Some(entry.amount())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Key = (u8, u8, Source);

    fn step() -> impl Strategy<Value = (Key, Option<Resources>)> {
        let amount = (0..u64::MAX, 0..9u64, 0..9u64).prop_map(|(memory, vcpus, disk)| Resources {
            vcpus,
            memory,
            disk,
        });
        let key = (0..3u8, 0..4u8, 0..SOURCES.len()).prop_map(|(n, i, s)| (n, i, SOURCES[s]));
        (key, prop::option::of(amount))
    }

    fn name(prefix: &str, n: u8) -> Arc<str> {
        Arc::from(format!("{prefix}{n}"))
    }

    fn build(facts: &BTreeMap<Key, Resources>) -> Ledger {
        let mut ledger = Ledger::default();
        for ((node, uid, source), amount) in facts {
            let (node, uid) = (name("n", *node), name("i", *uid));
            ledger.set(&node, &uid, *source, Some(*amount));
        }
        ledger
    }

    proptest! {
        /// A ledger that lived through any history equals one that is built from what is true now.
        #[test]
        fn rebuild_equals_incremental(steps in prop::collection::vec(step(), 0..60)) {
            let mut facts = BTreeMap::new();
            let mut ledger = Ledger::default();
            for (key, amount) in steps {
                let (node, uid) = (name("n", key.0), name("i", key.1));
                ledger.set(&node, &uid, key.2, amount);
                match amount {
                    Some(amount) => { facts.insert(key, amount); }
                    None => { facts.remove(&key); }
                }
                let rebuilt = build(&facts);
                for node in 0..3 {
                    let node = name("n", node);
                    prop_assert_eq!(ledger.used(&node), rebuilt.used(&node));
                    prop_assert_eq!(ledger.instances(&node), rebuilt.instances(&node));
                }
                prop_assert_eq!(ledger.nodes.len(), rebuilt.nodes.len());
            }
        }
    }

    #[test]
    fn a_claim_counts_once_and_lasts_until_nothing_names_it() {
        let (node, uid) = (name("n", 1), name("i", 1));
        let amount = |memory| {
            Some(Resources {
                vcpus: 1,
                memory,
                disk: 1,
            })
        };
        let mut ledger = Ledger::default();
        ledger.set(&node, &uid, Source::Binding, amount(10));
        ledger.set(&node, &uid, Source::Domain, amount(12));
        assert_eq!(ledger.used(&node).memory, 12);
        ledger.set(&node, &uid, Source::Binding, None);
        assert_eq!(ledger.used(&node).memory, 12);
        assert_eq!(ledger.instances(&node), 1);
        ledger.set(&node, &uid, Source::Domain, None);
        assert_eq!(ledger.used(&node), Resources::ZERO);
    }
}
