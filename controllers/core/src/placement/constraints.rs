//! What of a host does not depend on claims, evaluated once for each distinct set of constraints.

use super::filter::Filter;
use super::matching::{contains, node_selected, node_term, tolerated};
use super::request::{Constraints, UplinkNeed};
use super::weights::{Figures, figures};
use crate::host_state::{HostState, MAX_ORPHANS, TaintEffect};

/// Sets of constraints that are kept; the one asked for longest ago goes first.
const MAX_CLASSES: usize = 32;

/// No preference, either way.
const NOTHING: Figures<2> = [0.0; 2];

/// What became of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passes, so far.
    Passes,
    /// The first filter that it fails.
    Fails(Filter),
    /// No host of that name is registered.
    Absent,
}

/// What a set of constraints makes of each host.
#[derive(Debug)]
pub struct Class {
    constraints: Constraints,
    /// Of each slot: the first filter that fails, if one does.
    pub outcomes: Vec<Outcome>,
    /// Of each slot: the weights of the preferred node terms that match, and, below 0, the number
    /// of taints with effect `PreferNoSchedule` that are not tolerated.
    pub preferred: Vec<Figures<2>>,
    /// Whether any host has something in `preferred`, ever since this class was made.
    pub has_preferred: bool,
}

impl Class {
    fn new(constraints: &Constraints, hosts: &[Option<HostState>]) -> Self {
        let mut class = Self {
            constraints: constraints.clone(),
            outcomes: Vec::with_capacity(hosts.len()),
            preferred: Vec::with_capacity(hosts.len()),
            has_preferred: false,
        };
        for (slot, host) in hosts.iter().enumerate() {
            class.set(slot, host.as_ref());
        }
        class
    }

    fn set(&mut self, slot: usize, host: Option<&HostState>) {
        if slot >= self.outcomes.len() {
            self.outcomes.resize(slot + 1, Outcome::Absent);
            self.preferred.resize(slot + 1, NOTHING);
        }
        self.outcomes[slot] = match host.map(|h| first_failure(h, &self.constraints)) {
            Some(None) => Outcome::Passes,
            Some(Some(filter)) => Outcome::Fails(filter),
            None => Outcome::Absent,
        };
        self.preferred[slot] = host.map_or(NOTHING, |h| preferences(h, &self.constraints));
        self.has_preferred |= self.preferred[slot] != NOTHING;
    }
}

/// The first filter of those that do not depend on claims that the host fails.
fn first_failure(host: &HostState, wanted: &Constraints) -> Option<Filter> {
    let bears = |effect| effect == TaintEffect::PreferNoSchedule;
    let mut taints = host.taints.iter().filter(|t| !bears(t.effect));
    if !host.ready {
        Some(Filter::Ready)
    } else if host.cordoned {
        Some(Filter::Cordoned)
    } else if wanted.needs().any(|need| host.lacks.contains(need)) {
        Some(Filter::Needs)
    } else if host.orphans > MAX_ORPHANS {
        Some(Filter::Orphans)
    } else if !taints.all(|t| tolerated(t, &wanted.tolerations)) {
        Some(Filter::Taints)
    } else if !labels_match(host, wanted) {
        Some(Filter::NodeAffinity)
    } else if wanted.architecture.is_some() && wanted.architecture != host.architecture {
        Some(Filter::Architecture)
    } else if !wanted
        .virtualization_type
        .is_none_or(|t| host.virtualization_types.contains(&t))
    {
        Some(Filter::VirtualizationType)
    } else {
        wanted.uplinks.iter().find_map(|uplink| lacks(host, uplink))
    }
}

/// What the host's NIC in a physical network fails.
fn lacks(host: &HostState, uplink: &UplinkNeed) -> Option<Filter> {
    match host.physical_networks.get(&uplink.physical_network) {
        None => Some(Filter::PhysicalNetwork),
        Some(mtu) if *mtu < uplink.mtu => Some(Filter::Mtu),
        Some(_) => None,
    }
}

fn labels_match(host: &HostState, wanted: &Constraints) -> bool {
    let selector = wanted.node_affinity.as_ref();
    contains(&host.labels, &wanted.node_selector)
        && selector.is_none_or(|s| node_selected(s, &host.labels))
}

fn preferences(host: &HostState, wanted: &Constraints) -> Figures<2> {
    let terms = wanted.preferred.iter();
    let weight = terms
        .filter(|p| node_term(&p.preference, &host.labels))
        .map(|p| i64::from(p.weight))
        .sum();
    let taints = host.taints.iter().filter(|t| {
        t.effect == TaintEffect::PreferNoSchedule && !tolerated(t, &wanted.tolerations)
    });
    figures([weight, -i64::try_from(taints.count()).unwrap_or(i64::MAX)])
}

/// The classes that were asked for lately.
#[derive(Debug, Default)]
pub struct Classes(Vec<Class>);

impl Classes {
    /// The class of those constraints, made now where it is not there.
    pub fn get(&mut self, constraints: &Constraints, hosts: &[Option<HostState>]) -> &Class {
        if let Some(place) = self.0.iter().position(|c| c.constraints == *constraints) {
            self.0[..=place].rotate_right(1);
        } else {
            self.0.truncate(MAX_CLASSES - 1);
            self.0.insert(0, Class::new(constraints, hosts));
        }
        &self.0[0]
    }

    /// A host changed, came or went.
    pub fn update(&mut self, slot: usize, host: Option<&HostState>) {
        for class in &mut self.0 {
            class.set(slot, host);
        }
    }
}

/// What one host fails for those constraints, without a class.
pub fn check(host: &HostState, constraints: &Constraints) -> Option<Filter> {
    first_failure(host, constraints)
}
