//! One decision: filter, then weigh.

use super::affinity::{Counts, adjust};
use super::constraints::check;
use super::filter::{Filter, NoValidHost};
use super::hosts::{Domains, Hosts};
use super::matching::selects;
use super::request::{Request, Term};
use super::weights::{Scale, Weights};
use super::{Placement, filter};
use crate::resources::Resources;
use std::collections::HashSet;

/// Memory that decisions use again.
#[derive(Debug, Default)]
pub struct Scratch {
    failed: Vec<Option<Filter>>,
    affinity: Vec<i64>,
    passed: Vec<usize>,
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
        let decision = match best {
            Some(slot) => Ok(Placement {
                node: self.names[slot].clone(),
            }),
            None => Err(filter::count(
                (self.states.iter().zip(&scratch.failed))
                    .filter_map(|(state, failed)| state.as_ref().and(*failed)),
            )),
        };
        self.scratch = scratch;
        decision
    }

    /// Fills in, for each slot, the first filter that fails, and the slots that pass all.
    fn filter(&mut self, request: &Request, scratch: &mut Scratch) {
        let class = self.classes.get(&request.constraints, &self.states);
        scratch.failed.clone_from(&class.failed);
        for name in &request.refused {
            if let Some(slot) = self.slot_of(name) {
                scratch.failed[slot] = scratch.failed[slot].or(Some(Filter::Refused));
            }
        }
        self.filter_affinity(request, &mut scratch.failed);
        let wanted = Wanted::from(request.resources);
        let free = &self.free;
        scratch.passed.clear();
        for (slot, failed) in scratch.failed.iter_mut().enumerate() {
            if failed.is_some() || self.states[slot].is_none() {
                continue;
            }
            *failed = wanted.lacks(free.memory[slot], free.vcpus[slot], free.disk[slot]);
            if failed.is_none() {
                scratch.passed.push(slot);
            }
        }
    }

    fn filter_affinity(&mut self, request: &Request, failed: &mut [Option<Filter>]) {
        let namespace = &request.key.namespace;
        for term in &request.affinity {
            let counts = self.placed.counts(namespace, &term.selector).cloned();
            let counts = counts.unwrap_or_default();
            // The first of a group that is near itself has nobody to be near yet.
            if counts.is_empty() && selects(&term.selector, &request.labels) {
                continue;
            }
            let domains = self.domains(&term.topology_key);
            let near = near(&counts, domains);
            mark(failed, Filter::InstanceAffinity, |slot| {
                domains[slot].is_none_or(|domain| !near.contains(&domain))
            });
        }
        for (term, counts) in self.apart(request) {
            let domains = self.domains(&term.topology_key);
            let near = near(&counts, domains);
            mark(failed, Filter::InstanceAntiAffinity, |slot| {
                domains[slot].is_some_and(|domain| near.contains(&domain))
            });
        }
    }

    /// The best of those that passed.
    fn weigh(
        &mut self,
        request: &Request,
        weights: &Weights,
        scratch: &mut Scratch,
    ) -> Option<usize> {
        let Scratch {
            affinity, passed, ..
        } = scratch;
        let passed: &[usize] = passed;
        self.prefer(request, affinity);
        let class = self.classes.get(&request.constraints, &self.states);
        let affinity: &[i64] = affinity;
        let free = &self.free;
        let scales = [
            Scale::new(weights.ram, passed, |s| free.memory[s]),
            Scale::new(weights.cpu, passed, |s| free.vcpus[s]),
            Scale::new(weights.disk, passed, |s| free.disk[s]),
            Scale::new(weights.instances, passed, |s| self.instances[s].into()),
        ];
        let preferring = class.has_preferred || !affinity.is_empty();
        let near = |s: usize| {
            i64::from(class.preferred[s].0) + affinity.get(s).copied().unwrap_or_default()
        };
        let tainted = |s: usize| -i64::from(class.preferred[s].1);
        let extra = preferring.then(|| {
            (
                Scale::new(weights.affinity, passed, near),
                Scale::new(weights.taints, passed, tainted),
            )
        });
        let score = |s: usize| {
            let [ram, cpu, disk, instances] = &scales;
            let base = ram.of(free.memory[s])
                + cpu.of(free.vcpus[s])
                + disk.of(free.disk[s])
                + instances.of(self.instances[s].into());
            base + extra
                .as_ref()
                .map_or(0.0, |(a, t)| a.of(near(s)) + t.of(tainted(s)))
        };
        let (first, rest) = passed.split_first()?;
        let mut best = (*first, score(*first));
        for slot in rest {
            let score = score(*slot);
            if score > best.1 || (score == best.1 && self.names[*slot] < self.names[best.0]) {
                best = (*slot, score);
            }
        }
        Some(best.0)
    }

    /// Sums, for each slot, the weights of preferred terms with instances near it; nothing where
    /// nothing is preferred.
    fn prefer(&mut self, request: &Request, affinity: &mut Vec<i64>) {
        affinity.clear();
        for (weight, term) in &request.preferred {
            let counts = self.placed.counts(&request.key.namespace, &term.selector);
            let Some(counts) = counts.filter(|c| !c.is_empty()).cloned() else {
                continue;
            };
            affinity.resize(self.names.len(), 0);
            let domains = self.domains(&term.topology_key);
            let near = near(&counts, domains);
            for (sum, domain) in affinity.iter_mut().zip(domains) {
                if domain.is_some_and(|d| near.contains(&d)) {
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
        if self.too_near(request, slot) {
            return Some(Filter::InstanceAntiAffinity);
        }
        let with = |free: i64, own: u64| free.saturating_add_unsigned(own);
        Wanted::from(request.resources).lacks(
            with(self.free.memory[slot], own.memory),
            with(self.free.vcpus[slot], own.vcpus),
            with(self.free.disk[slot], own.disk),
        )
    }

    /// Whether required anti-affinity, its own or others', keeps it off that slot.
    fn too_near(&mut self, request: &Request, slot: usize) -> bool {
        let apart = self.apart(request);
        apart.iter().any(|(term, counts)| {
            let domains = self.domains(&term.topology_key);
            domains[slot].is_some_and(|domain| near(counts, domains).contains(&domain))
        })
    }

    /// The required anti-affinity that concerns the Instance, with where those are from whom it
    /// must be apart; itself left out.
    fn apart(&mut self, request: &Request) -> Vec<(Term, Counts)> {
        let (namespace, uid) = (&request.key.namespace, &request.uid);
        let own: Vec<usize> = self.placed.slots(namespace, uid).to_vec();
        let without = |counts: &Counts, is_counted: bool| {
            let mut counts = counts.clone();
            for slot in own.iter().filter(|_| is_counted) {
                adjust(&mut counts, *slot, false);
            }
            counts
        };
        let mut apart = Vec::new();
        for term in &request.anti_affinity {
            if let Some(counts) = self.placed.counts(namespace, &term.selector) {
                let is_counted = selects(&term.selector, &request.labels);
                apart.push((term.clone(), without(counts, is_counted)));
            }
        }
        for (term, counts) in self.placed.against(namespace, &request.labels) {
            let is_counted = request.anti_affinity.contains(term);
            apart.push((term.clone(), without(counts, is_counted)));
        }
        apart.retain(|(_, counts)| !counts.is_empty());
        apart
    }
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

/// The topology domains that have any of those instances.
fn near(counts: &Counts, domains: &Domains) -> HashSet<u32> {
    let of = |slot: &usize| domains.get(*slot).copied().flatten();
    counts.keys().filter_map(of).collect()
}

fn mark(failed: &mut [Option<Filter>], filter: Filter, fails: impl Fn(usize) -> bool) {
    for (slot, verdict) in failed.iter_mut().enumerate() {
        if verdict.is_none() && fails(slot) {
            *verdict = Some(filter);
        }
    }
}
