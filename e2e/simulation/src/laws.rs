//! What holds at every moment, whatever happens.

use crate::api::Api;
use crate::node::Machine;
use crate::scene::{GROUP, INSTANCE_MEMORY};
use k8s_openapi::api::core::v1::Node;
use kilonova_controllers_core::host_state::out_of_service;
use kilonova_crds::names;
use kilonova_crds::node::{Disposition, Outcome};
use kilonova_crds::{Domain, Instance};
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who has an address or a MAC.
type Holders<'a> = BTreeMap<(&'a str, &'a str), &'a str>;

/// All of them.
///
/// # Errors
/// The first that does not hold.
pub fn check(api: &Api, machines: &[Machine]) -> Result<(), String> {
    one_owner(machines)?;
    room(api, machines)?;
    promised_once(api, machines)?;
    plugged_once(api, machines)?;
    apart(api, machines)
}

/// Never two owners: a libvirt domain runs on one node at most, and has one disk.
fn one_owner(machines: &[Machine]) -> Result<(), String> {
    let mut runs: BTreeMap<&str, &str> = BTreeMap::new();
    let mut disks: BTreeMap<&str, &str> = BTreeMap::new();
    for machine in machines {
        for (uuid, here) in &machine.here {
            let node = machine.name.as_str();
            let active = here.is_active().then(|| runs.insert(uuid, node)).flatten();
            let disk = here.has_disk().then(|| disks.insert(uuid, node)).flatten();
            if let Some(other) = active {
                return Err(format!("{uuid} runs on {other} and on {node}"));
            }
            if let Some(other) = disk {
                return Err(format!("{uuid} has a disk on {other} and on {node}"));
            }
        }
    }
    Ok(())
}

fn ended(domain: &Domain, disposition: Disposition, outcome: Outcome) -> bool {
    let status = domain.status.as_ref();
    domain.spec.disposition == disposition
        && status.is_some_and(|s| {
            s.outcome == Some(outcome) && Some(s.observed_generation) == domain.metadata.generation
        })
}

/// The Domains of a node that stand for something there: that may run, or of which something is
/// left. One that was made for no more than to be purged, in case, holds nothing from anybody.
pub fn standing<'a>(api: &'a Api, machine: &'a Machine) -> impl Iterator<Item = &'a Arc<Domain>> {
    let namespace = names::node_namespace(&machine.name);
    let stands = move |domain: &&Arc<Domain>| {
        let purged = ended(domain, Disposition::Purge, Outcome::Purged);
        let never = domain.spec.disposition == Disposition::Purge
            && !machine.here.contains_key(&domain.spec.uuid);
        domain.namespace().as_deref() == Some(&*namespace)
            && !(domain.spec.forfeited || purged || never)
    };
    api.all::<Domain>().filter(stands)
}

/// Memory that the Domains of a node take, in bytes.
#[must_use]
pub fn taken(api: &Api, machine: &Machine) -> u64 {
    let defined = |d: &Domain| {
        let here = machine.here.get(&d.spec.uuid);
        here.is_some_and(|here| here.libvirt.is_some())
    };
    // Of what was released the disk is left, also while that is purged.
    let kept = |d: &Domain| match d.spec.disposition {
        Disposition::Run => false,
        Disposition::Release => ended(d, Disposition::Release, Outcome::Released),
        Disposition::Purge => !defined(d),
    };
    let domains = standing(api, machine).filter(|d| !kept(d));
    domains.map(|_| INSTANCE_MEMORY).sum()
}

/// Never more is promised of a node than it has.
fn room(api: &Api, machines: &[Machine]) -> Result<(), String> {
    let over = |machine: &&Machine| taken(api, machine) > machine.memory;
    match machines.iter().find(over) {
        Some(machine) => Err(format!("{} is overcommitted", machine.name)),
        None => Ok(()),
    }
}

/// Never two Domains of one address or MAC in a Network.
fn promised_once(api: &Api, machines: &[Machine]) -> Result<(), String> {
    let mut holders = Holders::new();
    for domain in machines.iter().flat_map(|machine| standing(api, machine)) {
        for port in &domain.spec.ports {
            let ips = port.ips.iter().map(|address| address.ip.as_str());
            for name in ips.chain([port.mac.as_str()]) {
                let owner = domain.spec.instance.uid.as_str();
                let before = holders.insert((&port.segment, name), owner);
                if let Some(other) = before.filter(|other| *other != owner) {
                    return Err(format!("{name} is promised to {other} and to {owner}"));
                }
            }
        }
    }
    Ok(())
}

/// Never two guests that can send frames from one address or MAC. What its node's end was declared
/// of may still send, until its agent is back.
fn plugged_once(api: &Api, machines: &[Machine]) -> Result<(), String> {
    let mut holders = Holders::new();
    for machine in machines {
        if declared_gone(api, &machine.name) {
            continue;
        }
        let namespace = names::node_namespace(&machine.name);
        let plugged = machine.here.iter().filter(|(_, here)| here.is_plugged());
        for (uuid, here) in plugged {
            let Some(record) = here.files.as_ref().and_then(|f| f.record.as_ref()) else {
                continue;
            };
            let domain = api.get::<Domain>(&namespace, &record.owner.uid);
            if domain.is_some_and(|domain| domain.spec.forfeited) {
                continue;
            }
            for port in &record.spec.ports {
                let ips = port.ips.iter().map(|address| address.ip.as_str());
                for name in ips.chain([port.mac.as_str()]) {
                    if let Some(other) = holders.insert((&port.segment, name), uuid) {
                        return Err(format!("{other} and {uuid} both send from {name}"));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Whether an operator declared the node gone.
#[must_use]
pub fn declared_gone(api: &Api, node: &str) -> bool {
    let node = api.get::<Node>("", node);
    node.is_some_and(|node| out_of_service(&node))
}

/// Never two of a group on one node.
fn apart(api: &Api, machines: &[Machine]) -> Result<(), String> {
    for machine in machines {
        let mut there: BTreeMap<String, String> = BTreeMap::new();
        for domain in standing(api, machine) {
            let Some(group) = group_of(api, domain) else {
                continue;
            };
            let name = domain.spec.instance.name.clone();
            if let Some(other) = there.insert(group, name.clone()) {
                return Err(format!(
                    "{name} and {other}, to be apart, are both on {}",
                    machine.name
                ));
            }
        }
    }
    Ok(())
}

fn group_of(api: &Api, domain: &Domain) -> Option<String> {
    let instance: &Arc<Instance> = api.instance(&domain.spec.instance.uid)?;
    instance.labels().get(GROUP).cloned()
}
