//! What an object names: room, addresses, MACs.

use super::arc;
use crate::binding::Binding;
use crate::key::has_finalizer;
use crate::macs::Mac;
use crate::resources::Resources;
use crate::segments::SegmentKey;
use kilonova_crds::names::INSTANCE_FINALIZER;
use kilonova_crds::node::{Disposition, Domain, DomainSpec, Outcome};
use kilonova_crds::v1alpha1::{BoundInterface, BoundSegment, Instance, Orphan};
use std::net::IpAddr;
use std::sync::Arc;

/// What one object names of one Instance on one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Named {
    pub resources: Resources,
    pub ports: Vec<NamedPort>,
}

/// A port that it names.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedPort {
    pub network: Arc<str>,
    pub mac: Option<Mac>,
    pub ips: Vec<IpAddr>,
    pub segment: Option<SegmentKey>,
}

/// What is no MAC or no address holds none.
fn port<'a>(
    network: &str,
    mac: &str,
    ips: impl Iterator<Item = &'a String>,
    segment: Option<&BoundSegment>,
) -> NamedPort {
    NamedPort {
        network: arc(network),
        mac: mac.parse().ok(),
        ips: ips.filter_map(|ip| ip.parse().ok()).collect(),
        segment: segment.and_then(SegmentKey::of_bound),
    }
}

fn of_interfaces(interfaces: &[BoundInterface]) -> Vec<NamedPort> {
    let of = |i: &BoundInterface| {
        let ips = i.ips.iter().map(|a| &a.ip);
        port(&i.network_uid, &i.mac, ips, Some(&i.segment))
    };
    interfaces.iter().map(of).collect()
}

/// What a binding names.
pub fn by_binding(binding: &Binding) -> Named {
    Named {
        resources: Resources::from(&binding.claim),
        ports: of_interfaces(&binding.interfaces),
    }
}

/// The node that an Instance's binding names, and what. Nothing once our finalizer is off an
/// Instance that is being deleted: then its domain is purged, or its node was declared gone.
pub fn by_instance(instance: &Instance) -> Option<(String, Named)> {
    let metadata = &instance.metadata;
    if metadata.deletion_timestamp.is_some() && !has_finalizer(metadata, INSTANCE_FINALIZER) {
        return None;
    }
    let binding = Binding::of(instance.status.as_ref()?)?;
    let named = by_binding(&binding);
    Some((binding.node, named))
}

/// What a Domain names: nothing once it is purged, or given up with its node; of a released one
/// the kept disk, and its addresses.
pub fn by_domain(domain: &Domain) -> Option<Named> {
    by_spec(&domain.spec, current_outcome(domain))
}

/// What a Domain of that spec names, of which the agent says that.
pub fn by_spec(spec: &DomainSpec, outcome: Option<Outcome>) -> Option<Named> {
    let ports = spec.ports.iter();
    let mut named = Named {
        resources: Resources {
            vcpus: spec.vcpus.into(),
            memory: crate::resources::bytes(&spec.memory),
            disk: crate::resources::bytes(&spec.disk),
        },
        ports: ports
            // The Segment beside it says which one it is in.
            .map(|p| port(&p.segment, &p.mac, p.ips.iter().map(|a| &a.ip), None))
            .collect(),
    };
    match (spec.disposition, outcome) {
        _ if spec.forfeited => None,
        (Disposition::Purge, Some(Outcome::Purged)) => None,
        (Disposition::Release, Some(Outcome::Released)) => {
            named.resources.vcpus = 0;
            named.resources.memory = 0;
            Some(named)
        }
        _ => Some(named),
    }
}

/// The outcome that the agent reports of the Domain as it is written now.
pub fn current_outcome(domain: &Domain) -> Option<Outcome> {
    let status = domain.status.as_ref()?;
    let generation = domain.metadata.generation.unwrap_or_default();
    status
        .outcome
        .filter(|_| status.observed_generation == generation)
}

/// What an orphan names.
pub fn by_orphan(orphan: &Orphan) -> Named {
    let ports = orphan.ports.iter();
    Named {
        resources: Resources::from(&orphan.claim),
        ports: ports
            .map(|p| port(&p.network_uid, &p.mac, p.ips.iter(), p.segment.as_ref()))
            .collect(),
    }
}
