//! One decision: filter, then weigh.

use super::Placement;
use super::constraints::{Outcome, check};
use super::filter::{Filter, NoValidHost, count};
use super::hosts::{Free, Hosts};
use super::matching::selects;
use super::request::{Request, Term};
use super::weights::{Scales, Weights, figures};
use crate::resources::Resources;
use std::cmp::Ordering;
use std::sync::Arc;

/// Memory that decisions use again.
#[derive(Debug, Default)]
pub struct Scratch {
    outcomes: Vec<Outcome>,
    affinity: Vec<f64>,
    passed: Vec<u32>,
}

impl Hosts {
    /// Chooses the host. Nothing is claimed.
    ///
    /// # Errors
    /// When no host passes the filters, with how many failed which first.
    pub fn place(
        &mut self,
        request: &Request,
        weights: &Weights,
    ) -> Result<Placement, NoValidHost> {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.filter(request, &mut scratch);
        let best = if scratch.passed.is_empty() {
            None
        } else {
            self.weigh(request, weights, &mut scratch)
        };
        let decision = best.map(|slot| Placement {
            node: self.names[slot].clone(),
        });
        let decision = decision.ok_or_else(|| {
            count(scratch.outcomes.iter().filter_map(|outcome| match outcome {
                Outcome::Fails(filter) => Some(*filter),
                Outcome::Passes | Outcome::Absent => None,
            }))
        });
        self.scratch = scratch;
        decision
    }

    /// Fills in, for each slot, the first filter that fails, and the slots that pass all.
    fn filter(&mut self, request: &Request, scratch: &mut Scratch) {
        let class = self.classes.get(&request.constraints, &self.states);
        scratch.outcomes.clone_from(&class.outcomes);
        for name in &request.refused {
            if let Some(slot) = self.slot_of(name) {
                fail(&mut scratch.outcomes[slot], Filter::Refused);
            }
        }
        self.filter_affinity(request, &mut scratch.outcomes);
        let wanted = Wanted::from(request.resources);
        let Free {
            vcpus,
            memory,
            disk,
        } = &self.free;
        let free = memory.iter().zip(vcpus).zip(disk);
        scratch.passed.clear();
        for (slot, (outcome, ((memory, vcpus), disk))) in
            (0u32..).zip(scratch.outcomes.iter_mut().zip(free))
        {
            if *outcome != Outcome::Passes {
                continue;
            }
            match wanted.lacks(*memory, *vcpus, *disk) {
                Some(filter) => *outcome = Outcome::Fails(filter),
                None => scratch.passed.push(slot),
            }
        }
    }

    fn filter_affinity(&mut self, request: &Request, outcomes: &mut [Outcome]) {
        let namespace = &request.key.namespace;
        for term in &request.affinity {
            let counts = self.placed.counts(namespace, &term.selector);
            let nobody = counts.is_none_or(super::counts::Counts::is_empty);
            // The first of a group that is near itself has nobody to be near yet.
            if nobody && selects(&term.selector, &request.labels) {
                continue;
            }
            let domains = self.topologies.get(&term.topology_key, &self.states);
            let slots = counts.into_iter().flat_map(|c| c.slots(&[]));
            let near = domains.with(slots);
            for (outcome, domain) in outcomes.iter_mut().zip(&domains.of) {
                if domain.is_none_or(|d| !near[d as usize]) {
                    fail(outcome, Filter::InstanceAffinity);
                }
            }
        }
        self.each_apart(request, |near, of| {
            for (outcome, domain) in outcomes.iter_mut().zip(of) {
                if domain.is_some_and(|d| near[d as usize]) {
                    fail(outcome, Filter::InstanceAntiAffinity);
                }
            }
        });
    }

    /// Calls `each` for every required anti-affinity that concerns the Instance, its own and
    /// others', with the topology domains where somebody is from whom it must be apart (itself left
    /// out), and the domain of each slot.
    fn each_apart(&mut self, request: &Request, mut each: impl FnMut(&[bool], &[Option<u32>])) {
        let (namespace, uid) = (&request.key.namespace, &request.uid);
        let own = self.placed.slots(namespace, uid).to_vec();
        let except = |is_counted: bool| if is_counted { own.as_slice() } else { &[] };
        for term in &request.anti_affinity {
            let Some(counts) = self.placed.counts(namespace, &term.selector) else {
                continue;
            };
            let except = except(selects(&term.selector, &request.labels));
            let domains = self.topologies.get(&term.topology_key, &self.states);
            each(&domains.with(counts.slots(except)), &domains.of);
        }
        for (term, counts) in self.placed.against(namespace, &request.labels) {
            let except = except(request.anti_affinity.contains(term));
            let domains = self.topologies.get(&term.topology_key, &self.states);
            each(&domains.with(counts.slots(except)), &domains.of);
        }
    }

    /// The best of those that passed.
    fn weigh(
        &mut self,
        request: &Request,
        weights: &Weights,
        scratch: &mut Scratch,
    ) -> Option<usize> {
        self.prefer(request, &mut scratch.affinity);
        let class = self.classes.get(&request.constraints, &self.states);
        let passed = scratch.passed.iter().map(|slot| *slot as usize);
        let affinity = scratch.affinity.as_slice();
        let multipliers = [weights.ram, weights.cpu, weights.disk, weights.instances];
        let room = Scales::new(multipliers, passed.clone().map(|slot| self.room[slot]));
        if !class.has_preferred && affinity.is_empty() {
            return best(&self.names, passed, |slot| room.weight(self.room[slot]));
        }
        let preferences = |slot: usize| {
            let [nodes, taints] = class.preferred[slot];
            [
                nodes + affinity.get(slot).copied().unwrap_or_default(),
                taints,
            ]
        };
        let multipliers = [weights.affinity, weights.taints];
        let preferred = Scales::new(multipliers, passed.clone().map(preferences));
        best(&self.names, passed, |slot| {
            room.weight(self.room[slot]) + preferred.weight(preferences(slot))
        })
    }

    /// Sums, for each slot, the weights of preferred terms with instances near it; nothing where
    /// nothing is preferred.
    fn prefer(&mut self, request: &Request, affinity: &mut Vec<f64>) {
        affinity.clear();
        for (
            weight,
            Term {
                selector,
                topology_key,
            },
        ) in &request.preferred
        {
            let Some(counts) = self.placed.counts(&request.key.namespace, selector) else {
                continue;
            };
            if counts.is_empty() {
                continue;
            }
            affinity.resize(self.names.len(), 0.0);
            let domains = self.topologies.get(topology_key, &self.states);
            let near = domains.with(counts.slots(&[]));
            let [weight] = figures([*weight]);
            for (sum, domain) in affinity.iter_mut().zip(&domains.of) {
                if domain.is_some_and(|d| near[d as usize]) {
                    *sum += weight;
                }
            }
        }
    }

    /// What that node would fail if the Instance came there now; its own claim there, `own`, and
    /// its own presence are not counted. `None`: it would pass. A node that is not registered is
    /// not ready. Required instance affinity is not looked at: it was kept when it was placed.
    pub fn check(&mut self, request: &Request, node: &str, own: Resources) -> Option<Filter> {
        let Some(slot) = self.slot_of(node) else {
            return Some(Filter::Ready);
        };
        let Some(host) = &self.states[slot] else {
            return Some(Filter::Ready);
        };
        if let Some(failed) = check(host, &request.constraints) {
            return Some(failed);
        }
        let mut too_near = false;
        self.each_apart(request, |near, of| {
            too_near |= of[slot].is_some_and(|domain| near[domain as usize]);
        });
        if too_near {
            return Some(Filter::InstanceAntiAffinity);
        }
        let with = |free: i64, own: u64| free.saturating_add_unsigned(own);
        Wanted::from(request.resources).lacks(
            with(self.free.memory[slot], own.memory),
            with(self.free.vcpus[slot], own.vcpus),
            with(self.free.disk[slot], own.disk),
        )
    }
}

/// The slot with the greatest weight; of equal ones the name that sorts first.
fn best(
    names: &[Arc<str>],
    passed: impl Iterator<Item = usize>,
    weight: impl Fn(usize) -> f64,
) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for slot in passed {
        let weight = weight(slot);
        let better = best.is_none_or(|(other, most)| match weight.partial_cmp(&most) {
            Some(Ordering::Equal) => names[slot] < names[other],
            order => order == Some(Ordering::Greater),
        });
        if better {
            best = Some((slot, weight));
        }
    }
    best.map(|(slot, _)| slot)
}

/// What an Instance needs, as the arrays count.
struct Wanted {
    memory: i64,
    vcpus: i64,
    disk: i64,
}

impl From<Resources> for Wanted {
    fn from(r: Resources) -> Self {
        let capped = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Self {
            memory: capped(r.memory),
            vcpus: capped(r.vcpus),
            disk: capped(r.disk),
        }
    }
}

impl Wanted {
    #[inline]
    fn lacks(&self, memory: i64, vcpus: i64, disk: i64) -> Option<Filter> {
        if memory < self.memory {
            Some(Filter::Memory)
        } else if vcpus < self.vcpus {
            Some(Filter::Vcpus)
        } else if disk < self.disk {
            Some(Filter::Disk)
        } else {
            None
        }
    }
}

/// Notes a failure, unless there was one before.
#[inline]
fn fail(outcome: &mut Outcome, filter: Filter) {
    if *outcome == Outcome::Passes {
        *outcome = Outcome::Fails(filter);
    }
}
