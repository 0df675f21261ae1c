//! What a node reports of itself: its facts, what others use of it, the orphans that it holds.

use crate::network::{NicFault, NicObserved, PhysicalNetwork};
use crate::observed::{LibvirtDomain, NodeFacts};
use crate::owner::{Metadata, ours};
use crate::power::active;
use crate::record::{InstanceFiles, Record};
use crate::xml::PROBE_UUID;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kilonova_crds::condition::{carry_transition_times, types};
use kilonova_crds::node::DomainPort;
use kilonova_crds::v1alpha1::{
    BoundSegment, Capacity, Cpu, HypervisorStatus, Nic, Orphan, OrphanPort, Share, Versions,
    VirtualizationType,
};
use kilonova_crds::{Condition, Quantity};
use std::collections::BTreeSet;

/// What foreign use of the disk is rounded up to, at least: it changes all the time, and each
/// change would be a write.
const DISK_GRAIN: u64 = 1 << 30;
/// What it is rounded up to on large disks, as a part of the disk.
const DISK_GRAINS: u64 = 64;
/// The condition that says whether libvirt answers.
pub const LIBVIRT_READY: &str = types::LIBVIRT_READY;

/// The condition that says whether every NIC in a physical network can be used; only where there
/// is one.
pub const PHYSICAL_NETWORKS_READY: &str = "PhysicalNetworksReady";

/// A physical network that the operator named a NIC of, and that NIC.
pub type NicInNetwork = (PhysicalNetwork, Result<NicObserved, NicFault>);

/// Whose a libvirt domain is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Another cluster's, or nobody's that we know.
    Foreign,
    /// This cluster's.
    Own(Metadata),
}

/// Whose a libvirt domain is, by what stands in its metadata.
#[must_use]
pub fn ownership(cluster_id: &str, domain: &LibvirtDomain) -> Ownership {
    ours(domain, cluster_id).map_or(Ownership::Foreign, Ownership::Own)
}

/// What a node's report is made from.
#[derive(Clone, Debug)]
pub struct NodeReport<'a> {
    /// Id of the cluster.
    pub cluster_id: &'a str,
    /// What libvirt said of the node when it last answered.
    pub facts: Option<&'a NodeFacts>,
    /// Why libvirt does not answer; absent when it does.
    pub libvirt_trouble: Option<&'a str>,
    /// How guests run here.
    pub virtualization: Option<VirtualizationType>,
    /// All libvirt domains.
    pub domains: &'a [LibvirtDomain],
    /// All directories of instances.
    pub files: &'a [InstanceFiles],
    /// UUIDs that the Domains in the node namespace name.
    pub declared: &'a BTreeSet<String>,
    /// The NICs in physical networks.
    pub nics: &'a [NicInNetwork],
    /// Size of the state directory's file system, in bytes.
    pub disk_total: u64,
    /// What is used of it by others than us, in bytes.
    pub disk_foreign: u64,
    /// The part of the node that instances may use; absent: all of it.
    pub share: Option<&'a Share>,
    /// The kernel's release.
    pub kernel: &'a str,
    /// The agent's own version.
    pub agent: &'a str,
    /// Generation of the Hypervisor that is answered.
    pub generation: Option<i64>,
}

impl NodeReport<'_> {
    /// The agent's part of the Hypervisor's status. `previous` is what it has.
    #[must_use]
    pub fn status(&self, previous: Option<&HypervisorStatus>, now: &Time) -> HypervisorStatus {
        let facts = self.facts;
        let kept = previous.map_or(&[][..], |p| &p.conditions);
        let nics = self.usable_nics();
        let conditions = std::iter::once(self.libvirt_ready(now)).chain(self.nics_ready(now));
        HypervisorStatus {
            observed_generation: self.generation,
            capacity: facts.map(|facts| Capacity {
                vcpus: facts.vcpus,
                memory: Quantity::from_bytes(facts.memory_bytes),
                disk: Quantity::from_bytes(self.disk_total),
            }),
            foreign: facts.map(|_| self.foreign()),
            share: self.share.cloned(),
            cpu: facts.map(|facts| Cpu {
                model: facts.cpu_model.clone(),
                vendor: facts.cpu_vendor.clone(),
            }),
            architecture: facts.map(|facts| facts.architecture.clone()),
            machine_types: facts.map(|f| f.machine_types.clone()).unwrap_or_default(),
            virtualization_types: self.virtualization.into_iter().collect(),
            physical_networks: nics.iter().map(|n| n.physical_network.clone()).collect(),
            nics,
            versions: facts.map(|facts| Versions {
                agent: self.agent.to_owned(),
                libvirt: facts.libvirt_version.clone(),
                qemu: facts.qemu_version.clone(),
                kernel: self.kernel.to_owned(),
            }),
            orphans: self.orphans(),
            conditions: carry_transition_times(kept, conditions.collect()),
        }
    }

    fn usable_nics(&self) -> Vec<Nic> {
        let usable = |(network, nic): &NicInNetwork| {
            let nic = nic.as_ref().ok()?;
            nic.fault().is_none().then(|| Nic {
                physical_network: network.to_string(),
                name: nic.name.clone(),
                mtu: nic.mtu,
            })
        };
        self.nics.iter().filter_map(usable).collect()
    }

    /// Absent where the operator named no physical network.
    fn nics_ready(&self, now: &Time) -> Option<Condition> {
        let fault = |(network, nic): &NicInNetwork| {
            let fault = match nic {
                Ok(nic) => nic.fault()?,
                Err(fault) => fault.clone(),
            };
            Some(format!("{network}: {fault}"))
        };
        let faults: Vec<_> = self.nics.iter().filter_map(fault).collect();
        let reason = if faults.is_empty() {
            "Usable"
        } else {
            "NICNotUsable"
        };
        (!self.nics.is_empty()).then(|| Condition {
            type_: PHYSICAL_NETWORKS_READY.to_owned(),
            status: faults.is_empty().into(),
            reason: reason.to_owned(),
            message: faults.join("; "),
            last_transition_time: now.clone(),
            observed_generation: None,
        })
    }

    fn libvirt_ready(&self, now: &Time) -> Condition {
        libvirt_ready(self.libvirt_trouble, now)
    }

    /// What domains that are not this cluster's use.
    fn foreign(&self) -> Capacity {
        let foreign = self.domains.iter().filter(|domain| {
            active(domain.state)
                && domain.uuid != PROBE_UUID
                && ownership(self.cluster_id, domain) == Ownership::Foreign
        });
        let (vcpus, memory) = foreign.fold((0_u32, 0_u64), |(vcpus, memory), domain| {
            (
                vcpus.saturating_add(domain.vcpus),
                memory.saturating_add(domain.memory_bytes),
            )
        });
        let grain = (self.disk_total / DISK_GRAINS)
            .next_multiple_of(DISK_GRAIN)
            .max(DISK_GRAIN);
        Capacity {
            vcpus,
            memory: Quantity::from_bytes(memory),
            disk: Quantity::from_bytes(
                self.disk_foreign
                    .next_multiple_of(grain)
                    .min(self.disk_total),
            ),
        }
    }

    /// What is this cluster's, and no Domain names: libvirt domains, and kept disks.
    fn orphans(&self) -> Vec<Orphan> {
        let record = |uuid: &str| self.files.iter().find(|f| f.uuid == uuid)?.record.as_ref();
        let mut orphans = Vec::new();
        let mut seen = BTreeSet::new();
        for domain in self.domains {
            let Ownership::Own(metadata) = ownership(self.cluster_id, domain) else {
                continue;
            };
            seen.insert(domain.uuid.as_str());
            if !self.declared.contains(&domain.uuid) {
                let record = record(&domain.uuid);
                orphans.push(orphan(&metadata.owner, record, Some(domain)));
            }
        }
        for files in self.files {
            let Some(record) = &files.record else {
                continue;
            };
            let ours = record.owner.cluster_id == self.cluster_id;
            let alone = !seen.contains(files.uuid.as_str()) && !self.declared.contains(&files.uuid);
            if ours && alone && files.disk.is_some() {
                orphans.push(orphan(&record.owner, Some(record), None));
            }
        }
        orphans.sort_by(|a, b| a.uuid.cmp(&b.uuid));
        orphans
    }
}

fn orphan(
    owner: &crate::record::Owner,
    record: Option<&Record>,
    domain: Option<&LibvirtDomain>,
) -> Orphan {
    let spec = record.map(|record| &record.spec);
    let disk = spec.map_or_else(|| Quantity::from_bytes(0), |spec| spec.disk.clone());
    let claim = match (spec, domain) {
        (Some(spec), _) => Capacity {
            vcpus: spec.vcpus,
            memory: spec.memory.clone(),
            disk,
        },
        (None, domain) => Capacity {
            vcpus: domain.map_or(0, |d| d.vcpus),
            memory: Quantity::from_bytes(domain.map_or(0, |d| d.memory_bytes)),
            disk,
        },
    };
    Orphan {
        uuid: owner.uuid.clone(),
        namespace: owner.namespace.clone(),
        namespace_uid: owner.namespace_uid.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        claim,
        ports: record.map(ports).unwrap_or_default(),
    }
}

fn ports(record: &Record) -> Vec<OrphanPort> {
    let segment = |uid: &str| {
        let mut segments = record.segments.iter();
        let segment = segments.find(|segment| segment.network.uid == uid)?;
        Some(BoundSegment {
            type_: segment.type_,
            id: segment.id,
            physical_network: segment.physical_network.clone(),
            mtu: segment.mtu,
        })
    };
    let port = |port: &DomainPort| OrphanPort {
        network_uid: port.segment.clone(),
        mac: port.mac.clone(),
        ips: port.ips.iter().map(|address| address.ip.clone()).collect(),
        segment: segment(&port.segment),
    };
    record.spec.ports.iter().map(port).collect()
}

fn libvirt_ready(trouble: Option<&str>, now: &Time) -> Condition {
    Condition {
        type_: LIBVIRT_READY.to_owned(),
        status: trouble.is_none().into(),
        reason: if trouble.is_none() {
            "Connected"
        } else {
            "Unreachable"
        }
        .to_owned(),
        message: trouble.unwrap_or_default().to_owned(),
        last_transition_time: now.clone(),
        observed_generation: None,
    }
}

/// The agent's part of the status while libvirt has not answered since this agent's start: what it
/// was, and what is wrong.
#[must_use]
pub fn without_libvirt(
    previous: Option<&HypervisorStatus>,
    trouble: &str,
    now: &Time,
) -> HypervisorStatus {
    let mut status = previous.cloned().unwrap_or_default();
    let told = vec![libvirt_ready(Some(trouble), now)];
    status.conditions = carry_transition_times(&status.conditions, told);
    status
}

/// Whether the agent's part of a status must be written: anything differs but the controllers'
/// conditions.
#[must_use]
pub fn differs(previous: Option<&HypervisorStatus>, next: &HypervisorStatus) -> bool {
    let Some(previous) = previous else {
        return true;
    };
    let mut own = previous.clone();
    let theirs = |c: &Condition| c.type_ == types::READY || c.type_ == types::IN_USE;
    own.conditions.retain(|c| !theirs(c));
    own != *next
}

/// The machine type of new domains: the newest of q35.
#[must_use]
pub fn newest_q35(machine_types: &[String]) -> Option<String> {
    let version = |name: &str| -> Option<(u32, u32)> {
        let (major, minor) = name.strip_prefix("pc-q35-")?.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let newest = machine_types
        .iter()
        .filter_map(|name| Some((version(name)?, name)))
        .max()?;
    Some(newest.1.clone())
}

#[cfg(test)]
mod tests;
