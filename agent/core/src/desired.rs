//! What a node should have of one instance: its Domain and Segments, parsed and resolved.

use crate::network::{LinkName, Netns, PortDesired, SegmentDesired};
use crate::observed::{LibvirtDomain, LibvirtState, StateReason};
use crate::owner::Metadata;
use crate::plan::Hold;
use crate::power::{Declared, Seen};
use crate::reason;
use crate::record::{InstanceFiles, LastStop, Owner, Record};
use crate::xml::CacheMode;
use kilonova_crds::Domain;
use kilonova_crds::node::{DomainPort, DomainSpec, Outcome, RootDisk, SegmentSpec};
use kilonova_crds::v1alpha1::VirtualizationType;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What all domains of a node have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// Id of the cluster.
    pub cluster_id: String,
    /// How guests run here.
    pub virtualization: VirtualizationType,
    /// Canonical names of the machine types that QEMU has here.
    pub machine_types: Vec<String>,
    /// The machine type of new domains, one of those.
    pub machine: String,
    /// How root disks are cached.
    pub cache: CacheMode,
}

/// Where the files of an instance are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The root disk.
    pub root_disk: String,
    /// The config drive.
    pub config_drive: String,
    /// The log of the serial console.
    pub console_log: String,
}

/// What a node should have of one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Whose it is.
    pub owner: Owner,
    /// The generation of the Domain that this is of.
    pub generation: i64,
    /// The Domain.
    pub spec: DomainSpec,
    /// The Segments that the API has of its ports.
    pub segments: Vec<SegmentSpec>,
    /// Whether its root disk was made: where it is missing, none is made anew.
    pub disk_existed: bool,
    /// Whether this Domain object was refused before, which is final.
    pub refused: bool,
    /// Where its files are.
    pub paths: Paths,
}

impl Desired {
    /// What a Domain asks for. `segments` is what the API has, by name.
    #[must_use]
    pub fn new(
        cluster_id: &str,
        domain: &Domain,
        segments: &BTreeMap<String, SegmentSpec>,
        paths: Paths,
    ) -> Self {
        let spec = domain.spec.clone();
        let status = domain.status.as_ref();
        let names: BTreeSet<&String> = spec.ports.iter().map(|port| &port.segment).collect();
        let own = names
            .into_iter()
            .filter_map(|name| segments.get(name).cloned());
        Self {
            owner: Owner::new(cluster_id, &spec.instance, &spec.uuid),
            generation: domain.metadata.generation.unwrap_or_default(),
            segments: own.collect(),
            disk_existed: spec.root_disk == RootDisk::Existing
                || status.is_some_and(|s| s.disk_created),
            refused: status.is_some_and(|s| s.outcome == Some(Outcome::Refused)),
            paths,
            spec,
        }
    }

    /// What the table of power reads of it.
    #[must_use]
    pub fn declared(&self) -> Declared {
        Declared {
            power: self.spec.power,
            policy: self.spec.restart_policy,
        }
    }
}

/// A port with its Segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The Segment.
    pub segment: SegmentDesired,
    /// The port.
    pub port: PortDesired,
}

/// The ports of a Domain with their Segments, in the guest's order.
///
/// # Errors
/// When a Segment is not among those known, or something of it or of a port is not what it should
/// be: the reason for which the Domain waits.
pub fn attachments(spec: &DomainSpec, segments: &[SegmentSpec]) -> Result<Vec<Attachment>, Hold> {
    let attach = |(index, port): (usize, &DomainPort)| {
        let segment = segments
            .iter()
            .find(|segment| segment.network.uid == port.segment)
            .ok_or_else(|| {
                let message = format!("the Segment of interface {} is not there yet", port.name);
                Hold::new(reason::WAITING_FOR_SEGMENT, message)
            })?;
        let failed = |what: &dyn std::error::Error| {
            let cause = what.source().map(|s| format!(": {s}")).unwrap_or_default();
            let message = format!("interface {}: {what}{cause}", port.name);
            Hold::new(reason::SEGMENT_FAILED, message)
        };
        let segment = SegmentDesired::from_spec(segment).map_err(|e| failed(&e))?;
        let port = PortDesired::from_domain(spec, index, &segment).map_err(|e| failed(&e))?;
        Ok(Attachment { segment, port })
    };
    spec.ports.iter().enumerate().map(attach).collect()
}

/// What a node has of one instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The libvirt domain of its UUID.
    pub libvirt: Option<LibvirtDomain>,
    /// What that says in its metadata, where it is ours.
    pub metadata: Option<Metadata>,
    /// Its directory.
    pub files: Option<InstanceFiles>,
    /// Its taps that are there.
    pub ports: BTreeMap<LinkName, PortPlace>,
    /// Whether its image is in the cache.
    pub image_cached: bool,
    /// What the node has to spare.
    pub room: Room,
    /// How long its guest must wait, when it is one that keeps stopping.
    pub restart_wait: Option<Duration>,
}

/// Where a tap is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortPlace {
    /// Beside libvirt, in the node's own netns.
    Beside,
    /// In a Segment.
    Plugged {
        /// The Segment.
        segment: Netns,
        /// Whether its link, rules and DHCP pair are as they should be.
        current: bool,
    },
    /// Nowhere: only rules or a DHCP pair of it are left in a Segment.
    Remains {
        /// The Segment.
        segment: Netns,
    },
}

/// What a node has to spare, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Disk, on the state directory's file system.
    pub disk_bytes: u64,
    /// Memory that a new process could have.
    pub memory_bytes: u64,
    /// Disk, on the file system where libvirt saves memory.
    pub save_bytes: u64,
}

impl Observed {
    /// Its record.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.files.as_ref()?.record.as_ref()
    }

    /// What the table of power reads of it; where it is not defined yet, what it will see of it
    /// once it is.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let last_stop = self.record().and_then(|record| record.last_stop);
        match &self.libvirt {
            Some(domain) => Seen {
                state: domain.state,
                reason: domain.reason,
                saved: domain.managed_save,
                last_stop,
            },
            None => Seen {
                state: LibvirtState::Shutoff,
                reason: StateReason::Other,
                saved: false,
                last_stop: last_stop.or(Some(LastStop::Asked)),
            },
        }
    }

    /// Whether its QEMU is there.
    #[must_use]
    pub fn active(&self) -> bool {
        self.libvirt
            .as_ref()
            .is_some_and(|domain| crate::power::active(domain.state))
    }
}
