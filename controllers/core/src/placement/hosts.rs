//! The hosts, in arrays by slot, with what is free of each.

use super::affinity::Placed;
use super::constraints::Classes;
use super::decide::Scratch;
use super::request::Term;
use super::weights::{Figures, ROOM, figures};
use crate::host_state::HostState;
use crate::resources::Resources;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Label by which a Node is near only itself; where a Node lacks it, its name stands for it.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Which slots are near each other by one label.
#[derive(Debug, Default)]
pub struct Domains {
    /// A number for each slot: equal where the label has the same value; `None` where it is missing.
    pub of: Vec<Option<u32>>,
    /// How many numbers there are.
    pub len: usize,
}

impl Domains {
    /// Which domains have one of those slots.
    pub fn with(&self, slots: impl Iterator<Item = usize>) -> Vec<bool> {
        let mut has = vec![false; self.len];
        for slot in slots {
            if let Some(number) = self.of.get(slot).copied().flatten() {
                has[number as usize] = true;
            }
        }
        has
    }
}

/// The domains of each label that was asked for since a label changed.
#[derive(Debug, Default)]
pub(super) struct Topologies(HashMap<String, Domains>);

impl Topologies {
    pub fn get(&mut self, topology_key: &str, states: &[Option<HostState>]) -> &Domains {
        if !self.0.contains_key(topology_key) {
            let domains = number_domains(states, topology_key);
            self.0.insert(topology_key.to_owned(), domains);
        }
        &self.0[topology_key]
    }
}

/// All hosts. A slot is a node's name for good, registered or not.
#[derive(Debug, Default)]
pub struct Hosts {
    slots: HashMap<Arc<str>, usize>,
    pub(super) names: Vec<Arc<str>>,
    pub(super) states: Vec<Option<HostState>>,
    used: Vec<Resources>,
    pub(super) free: Free,
    instances: Vec<u32>,
    /// What of each slot is weighed: free memory, virtual CPUs, disk, and the number of instances.
    pub(super) room: Vec<Figures<ROOM>>,
    pub(super) classes: Classes,
    pub(super) placed: Placed,
    pub(super) topologies: Topologies,
    pub(super) scratch: Scratch,
}

/// What is free, an array for each resource; below 0 where more is claimed than there is.
#[derive(Debug, Default)]
pub struct Free {
    pub vcpus: Vec<i64>,
    pub memory: Vec<i64>,
    pub disk: Vec<i64>,
}

fn difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a > b { i64::MAX } else { i64::MIN })
}

impl Hosts {
    fn slot(&mut self, name: &str) -> usize {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        let slot = self.names.len();
        let name: Arc<str> = Arc::from(name);
        self.slots.insert(Arc::clone(&name), slot);
        self.names.push(name);
        self.states.push(None);
        self.used.push(Resources::ZERO);
        self.instances.push(0);
        self.free.vcpus.push(0);
        self.free.memory.push(0);
        self.free.disk.push(0);
        self.room.push([0.0; ROOM]);
        self.classes.update(slot, None);
        self.topologies.0.clear();
        slot
    }

    /// The host of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&HostState> {
        self.states[*self.slots.get(name)?].as_ref()
    }

    /// The host is as `state` says from now on; whether that differs from before.
    pub fn set(&mut self, state: HostState) -> bool {
        let slot = self.slot(&state.name);
        if self.states[slot].as_ref() == Some(&state) {
            return false;
        }
        let labels = |s: &Option<HostState>| s.as_ref().map(|s| s.labels.clone());
        if labels(&self.states[slot]).as_ref() != Some(&state.labels) {
            self.topologies.0.clear();
        }
        self.classes.update(slot, Some(&state));
        self.states[slot] = Some(state);
        self.refresh(slot);
        true
    }

    /// The host is registered no more; whether it was.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(slot) = self.slots.get(name).copied() else {
            return false;
        };
        let was = self.states[slot].take().is_some();
        if was {
            self.classes.update(slot, None);
            self.topologies.0.clear();
        }
        was
    }

    /// What is claimed on that node from now on.
    pub fn set_used(&mut self, name: &str, used: Resources, instances: u32) {
        let slot = self.slot(name);
        self.used[slot] = used;
        self.instances[slot] = instances;
        self.refresh(slot);
    }

    fn refresh(&mut self, slot: usize) {
        let has = self.states[slot]
            .as_ref()
            .map(|s| s.allocatable)
            .unwrap_or_default();
        let used = self.used[slot];
        self.free.vcpus[slot] = difference(has.vcpus, used.vcpus);
        self.free.memory[slot] = difference(has.memory, used.memory);
        self.free.disk[slot] = difference(has.disk, used.disk);
        self.room[slot] = figures([
            self.free.memory[slot],
            self.free.vcpus[slot],
            self.free.disk[slot],
            self.instances[slot].into(),
        ]);
    }

    /// The Instance has those labels and that required anti-affinity; whether they differ from
    /// before.
    pub fn describe(
        &mut self,
        namespace: &str,
        uid: &Arc<str>,
        labels: &BTreeMap<String, String>,
        anti_affinity: Vec<Term>,
    ) -> bool {
        self.placed.describe(namespace, uid, labels, anti_affinity)
    }

    /// The Instance is gone.
    pub fn forget(&mut self, namespace: &str, uid: &str) {
        self.placed.forget(namespace, uid);
    }

    /// Whether the Instance, described before, claims something on that node. Returns whether that
    /// differs from before.
    pub fn set_placed(&mut self, namespace: &str, uid: &Arc<str>, node: &str, there: bool) -> bool {
        let slot = self.slot(node);
        self.placed.set(namespace, uid, slot, there)
    }

    pub(super) fn slot_of(&self, name: &str) -> Option<usize> {
        self.slots.get(name).copied()
    }
}

fn number_domains(states: &[Option<HostState>], topology_key: &str) -> Domains {
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let mut of = Vec::with_capacity(states.len());
    for state in states {
        let value = state.as_ref().and_then(|state| {
            let name = (topology_key == HOSTNAME).then_some(&*state.name);
            state.labels.get(topology_key).map(String::as_str).or(name)
        });
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        of.push(value.map(|value| *numbers.entry(value).or_insert(next)));
    }
    let len = numbers.len();
    Domains { of, len }
}
