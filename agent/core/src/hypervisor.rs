//! What a node reports of itself: its facts, what others use of it, the orphans that it holds.

use crate::observed::{LibvirtDomain, NodeFacts};
use crate::owner::{Metadata, ours};
use crate::power::active;
use crate::record::{InstanceFiles, Record};
use crate::xml::PROBE_UUID;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kilonova_crds::condition::{carry_transition_times, types};
use kilonova_crds::node::DomainSpec;
use kilonova_crds::v1alpha1::{
    Capacity, Cpu, HypervisorStatus, Orphan, OrphanPort, Versions, VirtualizationType,
};
use kilonova_crds::{Condition, Quantity};
use std::collections::BTreeSet;

/// What foreign use of the disk is rounded up to, at least: it changes all the time, and each
/// change would be a write.
const DISK_GRAIN: u64 = 1 << 30;
/// What it is rounded up to on large disks, as a part of the disk.
const DISK_GRAINS: u64 = 64;
/// The condition that says whether libvirt answers.
pub const LIBVIRT_READY: &str = "LibvirtReady";

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
    /// Size of the state directory's file system, in bytes.
    pub disk_total: u64,
    /// What is used of it by others than us, in bytes.
    pub disk_foreign: u64,
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
        HypervisorStatus {
            observed_generation: self.generation,
            capacity: facts.map(|facts| Capacity {
                vcpus: facts.vcpus,
                memory: Quantity::from_bytes(facts.memory_bytes),
                disk: Quantity::from_bytes(self.disk_total),
            }),
            foreign: facts.map(|_| self.foreign()),
            cpu: facts.map(|facts| Cpu {
                model: facts.cpu_model.clone(),
                vendor: facts.cpu_vendor.clone(),
            }),
            architecture: facts.map(|facts| facts.architecture.clone()),
            machine_types: facts.map(|f| f.machine_types.clone()).unwrap_or_default(),
            virtualization_types: self.virtualization.into_iter().collect(),
            physical_networks: Vec::new(),
            versions: facts.map(|facts| Versions {
                agent: self.agent.to_owned(),
                libvirt: facts.libvirt_version.clone(),
                qemu: facts.qemu_version.clone(),
                kernel: self.kernel.to_owned(),
            }),
            orphans: self.orphans(),
            conditions: carry_transition_times(kept, vec![self.libvirt_ready(now)]),
        }
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
        ports: spec.map(ports).unwrap_or_default(),
    }
}

fn ports(spec: &DomainSpec) -> Vec<OrphanPort> {
    let port = |port: &kilonova_crds::node::DomainPort| OrphanPort {
        network_uid: port.segment.clone(),
        mac: port.mac.clone(),
        ips: port.ips.iter().map(|address| address.ip.clone()).collect(),
    };
    spec.ports.iter().map(port).collect()
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
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::observed::{LibvirtState, StateReason};
    use crate::plan::simulation::{UUID, desired, spec};
    use kilonova_crds::ConditionStatus;

    fn domain(uuid: &str, metadata: Option<String>) -> LibvirtDomain {
        LibvirtDomain {
            uuid: uuid.to_owned(),
            name: "d".to_owned(),
            state: LibvirtState::Running,
            reason: StateReason::Other,
            persistent: true,
            managed_save: false,
            metadata,
            vcpus: 2,
            memory_bytes: 1 << 30,
        }
    }

    #[allow(clippy::unnecessary_wraps, reason = "as libvirt gives it")]
    fn own(cluster: &str) -> Option<String> {
        let mut owner = desired(spec()).owner;
        owner.cluster_id = cluster.to_owned();
        let definition = String::new();
        Some(Metadata { owner, definition }.to_xml())
    }

    fn facts() -> NodeFacts {
        NodeFacts {
            vcpus: 8,
            memory_bytes: 16 << 30,
            cpu_model: "EPYC".to_owned(),
            cpu_vendor: None,
            architecture: "x86_64".to_owned(),
            machine_types: vec!["pc-q35-7.2".to_owned()],
            kvm_offered: false,
            libvirt_version: "9.0.0".to_owned(),
            qemu_version: "7.2.0".to_owned(),
            hostname: "n".to_owned(),
        }
    }

    fn report(domains: &[LibvirtDomain], declared: &[&str]) -> HypervisorStatus {
        let (facts, declared) = (facts(), declared.iter().map(|d| (*d).to_owned()).collect());
        let report = NodeReport {
            cluster_id: "c1",
            facts: Some(&facts),
            libvirt_trouble: None,
            virtualization: Some(VirtualizationType::Qemu),
            domains,
            files: &[],
            declared: &declared,
            disk_total: 100 << 30,
            disk_foreign: 1,
            kernel: "6.1",
            agent: "0.1.0",
            generation: Some(1),
        };
        report.status(None, &Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn another_clusters_domains_are_foreign_and_ours_orphans_unless_declared() {
        let foreign = domain("11111111-9d1e-4b57-8a53-0d8e35bfb0c1", own("c2"));
        let stranger = domain("22222222-9d1e-4b57-8a53-0d8e35bfb0c1", None);
        let ours = domain(UUID, own("c1"));
        let all = [foreign, stranger, ours];
        let status = report(&all, &[]);
        let used = status.foreign.unwrap();
        assert_eq!((used.vcpus, used.memory), (4, Quantity::from("2Gi")));
        assert_eq!(used.disk, Quantity::from("2Gi"));
        assert_eq!(status.orphans.len(), 1);
        assert_eq!(
            (
                status.orphans[0].uuid.as_str(),
                status.orphans[0].claim.vcpus
            ),
            (UUID, 2)
        );
        assert!(report(&all, &[UUID]).orphans.is_empty());
    }

    #[test]
    fn the_controllers_conditions_are_no_difference() {
        let status = report(&[], &[]);
        let mut seen = status.clone();
        seen.conditions.push(Condition {
            type_: types::READY.to_owned(),
            status: ConditionStatus::True,
            ..status.conditions[0].clone()
        });
        assert!(!differs(Some(&seen), &status));
        seen.versions = None;
        assert!(differs(Some(&seen), &status) && differs(None, &status));
    }

    #[test]
    fn without_libvirt_a_node_is_what_it_was_and_says_so() {
        let now = Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        let previous = report(&[], &[]);
        let lame = without_libvirt(Some(&previous), "no socket", &now);
        assert_eq!(lame.capacity, previous.capacity);
        assert_eq!(lame.conditions.len(), 1);
        assert_eq!(lame.conditions[0].status, ConditionStatus::False);
        assert_eq!(lame.conditions[0].message, "no socket");
        let new = without_libvirt(None, "no socket", &now);
        assert_eq!((new.capacity, new.conditions.len()), (None, 1));
        // Told once, it is told.
        assert!(!differs(
            Some(&lame),
            &without_libvirt(Some(&lame), "no socket", &now)
        ));
    }

    #[test]
    fn the_newest_machine_type_is_by_number() {
        let types = [
            "pc-q35-7.2",
            "pc-q35-10.0",
            "pc-i440fx-9.2",
            "pc-q35-9.1",
            "q35",
        ];
        let types = types.map(str::to_owned);
        assert_eq!(newest_q35(&types).as_deref(), Some("pc-q35-10.0"));
        assert_eq!(newest_q35(&[]), None);
    }
}
