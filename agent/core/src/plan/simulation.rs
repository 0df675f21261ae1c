//! A node that carries steps out in memory, and panics at a step that a real one could not carry
//! out at that moment.
#![allow(
    clippy::expect_used,
    clippy::too_many_lines,
    reason = "a test fails by panicking; a table of steps"
)]

use crate::desired::{Desired, NodeSettings, Observed, Paths, PortPlace, Room};
use crate::network::{LinkName, Netns};
use crate::observed::{LibvirtDomain, LibvirtState, StateReason};
use crate::owner::Metadata;
use crate::power::active;
use crate::record::{DiskFile, InstanceFiles};
use crate::steps::Step;
use crate::xml::CacheMode;
use kilonova_crds::Domain;
use kilonova_crds::node::{
    Disposition, DomainGuest, DomainImage, DomainInstance, DomainPort, DomainSpec, RootDisk,
    SegmentNetwork, SegmentSpec,
};
use kilonova_crds::v1alpha1::{
    ImageFormat, ImageKind, Power, RestartPolicy, SegmentType, VirtualizationType,
};
use std::collections::{BTreeMap, BTreeSet};

pub const UUID: &str = "6f1c0a52-9d1e-4b57-8a53-0d8e35bfb0c1";
pub const SEGMENT_UIDS: [&str; 2] = [
    "11111111-9d1e-4b57-8a53-0d8e35bfb0c1",
    "22222222-9d1e-4b57-8a53-0d8e35bfb0c1",
];

pub fn node() -> NodeSettings {
    NodeSettings {
        cluster_id: "c1".into(),
        virtualization: VirtualizationType::Qemu,
        machine_types: vec!["pc-q35-7.1".into(), "pc-q35-7.2".into()],
        machine: "pc-q35-7.2".into(),
        cache: CacheMode::None,
    }
}

pub fn spec() -> DomainSpec {
    let port = |index: usize| DomainPort {
        name: format!("eth{index}"),
        mac: format!("fa:16:3e:00:00:0{index}"),
        ips: vec![],
        segment: SEGMENT_UIDS[index].into(),
    };
    DomainSpec {
        instance: DomainInstance {
            namespace: "shop".into(),
            namespace_uid: "n1".into(),
            name: "web-1".into(),
            uid: UUID.into(),
        },
        uuid: UUID.into(),
        vcpus: 1,
        memory: "1Gi".into(),
        disk: "2Gi".into(),
        image: DomainImage {
            kind: ImageKind::Image,
            url: "http://images/x".into(),
            checksum: "sha256:00".into(),
            format: ImageFormat::Qcow2,
            virtual_size: "1Gi".into(),
        },
        root_disk: RootDisk::Create,
        ports: vec![port(0), port(1)],
        guest: DomainGuest {
            hostname: "web-1".into(),
            public_keys: vec![],
            user_data: None,
            user_data_secret: None,
        },
        power: Power::On,
        restart_policy: RestartPolicy::Always,
        termination_grace_period_seconds: 30,
        disposition: Disposition::Run,
        forfeited: false,
    }
}

pub fn segments() -> BTreeMap<String, SegmentSpec> {
    let segment = |uid: &str| SegmentSpec {
        network: SegmentNetwork {
            namespace: "shop".into(),
            name: "blue".into(),
            uid: uid.into(),
        },
        type_: SegmentType::Local,
        id: None,
        physical_network: None,
        mtu: 1500,
        routed: true,
        dhcp: true,
        gateway_mac: "fa:16:3e:ff:ff:01".into(),
        subnets: vec![],
    };
    SEGMENT_UIDS
        .iter()
        .map(|uid| ((*uid).to_owned(), segment(uid)))
        .collect()
}

pub fn desired(spec: DomainSpec) -> Desired {
    let paths = Paths {
        root_disk: "/i/disk".into(),
        config_drive: "/i/config".into(),
        console_log: "/i/console".into(),
    };
    Desired::new("c1", &Domain::new(UUID, spec), &segments(), paths)
}

pub fn room() -> Room {
    Room {
        disk_bytes: 100 << 30,
        memory_bytes: 100 << 30,
        save_bytes: 100 << 30,
    }
}

pub fn taps() -> [LinkName; 2] {
    [LinkName::tap(UUID, 0), LinkName::tap(UUID, 1)]
}

pub fn nothing() -> Observed {
    Observed {
        room: room(),
        ..Observed::default()
    }
}

/// A node with one instance.
pub struct Node {
    pub observed: Observed,
    pub held: BTreeSet<Netns>,
    /// Whether its guest hears the power button.
    pub deaf: bool,
    /// How many ports its Domain has.
    pub ports: usize,
}

impl Node {
    pub fn new(observed: Observed, deaf: bool, ports: usize) -> Self {
        let netns = |place: &PortPlace| match place {
            PortPlace::Beside => None,
            PortPlace::Plugged { segment, .. } | PortPlace::Remains { segment } => {
                Some(segment.clone())
            }
        };
        let held = observed.ports.values().filter_map(netns).collect();
        Self {
            observed,
            held,
            deaf,
            ports,
        }
    }

    fn files(&mut self) -> &mut InstanceFiles {
        self.observed.files.get_or_insert_with(|| InstanceFiles {
            uuid: UUID.into(),
            record: None,
            disk: None,
            config_drive: None,
        })
    }

    fn domain(&mut self) -> &mut LibvirtDomain {
        self.observed.libvirt.as_mut().expect("a libvirt domain")
    }

    fn end(&mut self, reason: StateReason, saved: bool) {
        let domain = self.domain();
        domain.state = LibvirtState::Shutoff;
        domain.reason = reason;
        domain.managed_save = saved;
        if !domain.persistent {
            self.observed.libvirt = None;
            self.observed.metadata = None;
        }
    }

    pub fn run(&mut self, steps: &[Step]) {
        self.run_some(steps, steps.len());
    }

    /// Carries out the first of these steps, and is killed then.
    pub fn run_some(&mut self, steps: &[Step], some: usize) {
        for (index, step) in steps.iter().enumerate().take(some) {
            let place = |tap| self.observed.ports.get(tap);
            let own = &taps()[..self.ports];
            let beside = own.iter().any(|tap| place(tap) == Some(&PortPlace::Beside));
            let ends = matches!(steps.get(index + 1), Some(Step::Shutdown { .. }));
            assert!(
                *step != Step::Resume || !beside || ends,
                "resumed before it is plugged"
            );
            self.apply(step);
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Confirm => {}
            Step::FetchImage(_) => self.observed.image_cached = true,
            Step::WriteRecord(record) => self.files().record = Some((**record).clone()),
            Step::CreateDisk { size_bytes, .. } => {
                assert!(self.observed.image_cached, "no image to make a disk from");
                assert!(self.files().record.is_some(), "a disk that nobody owns");
                assert!(!self.observed.active(), "a disk under a running guest");
                let disk = &mut self.files().disk;
                assert!(disk.is_none(), "a disk over a disk");
                *disk = Some(DiskFile {
                    virtual_size_bytes: *size_bytes,
                    allocated_bytes: 0,
                    backing: None,
                });
            }
            Step::WriteConfigDrive(drive) => {
                let free = self.files().config_drive.is_none() || !self.observed.active();
                assert!(free, "another drive under a running guest");
                self.files().config_drive = Some(drive.digest());
            }
            Step::Define { xml } => self.define(xml),
            Step::SetMetadata { element } => {
                self.domain().metadata = Some(element.clone());
                self.observed.metadata = Some(Metadata::parse(element).expect("our element"));
            }
            Step::EnsureSegment(segment) => {
                self.held.insert(segment.netns.clone());
            }
            Step::MakeTap(port) => {
                let old = self
                    .observed
                    .ports
                    .insert(port.tap.clone(), PortPlace::Beside);
                assert_eq!(old, None, "{} is there already", port.tap);
            }
            Step::Start { restore } => {
                for tap in taps().iter().take(self.ports) {
                    let place = self.observed.ports.get(tap);
                    assert_eq!(place, Some(&PortPlace::Beside), "{tap} is not beside");
                }
                assert!(self.files().disk.is_some() && self.files().config_drive.is_some());
                let domain = self.domain();
                assert!(domain.persistent && !active(domain.state));
                assert_eq!(domain.managed_save, *restore);
                domain.state = LibvirtState::Paused;
                domain.reason = StateReason::Other;
                domain.managed_save = false;
            }
            Step::Plug(port) => {
                assert!(self.held.contains(&port.segment), "no Segment to plug into");
                let current = true;
                let segment = port.segment.clone();
                let plugged = PortPlace::Plugged { segment, current };
                let old = self.observed.ports.insert(port.tap.clone(), plugged);
                let there = !matches!(old, None | Some(PortPlace::Remains { .. }));
                assert!(there, "{} is not there", port.tap);
            }
            Step::Resume => self.halt(LibvirtState::Running, StateReason::Other),
            Step::Pause => self.halt(LibvirtState::Paused, StateReason::User),
            Step::Save => {
                assert!(self.observed.active());
                self.end(StateReason::Saved, true);
            }
            Step::Shutdown { .. } => {
                assert_ne!(
                    self.domain().state,
                    LibvirtState::Paused,
                    "halted guests are deaf"
                );
                if !self.deaf {
                    self.end(StateReason::GuestShutdown, false);
                }
            }
            Step::Destroy => {
                if self.observed.active() {
                    self.end(StateReason::Destroyed, false);
                }
            }
            Step::Discard => {
                assert!(!self.observed.active());
                self.domain().managed_save = false;
            }
            Step::Unplug { tap, segment } => {
                let place = self.observed.ports.remove(tap).expect("a tap");
                let at = match place {
                    PortPlace::Beside => None,
                    PortPlace::Plugged { segment, .. } | PortPlace::Remains { segment } => {
                        Some(segment)
                    }
                };
                assert_eq!(&at, segment);
            }
            Step::LeaveSegment(netns) => {
                let plugged = self.observed.ports.values().any(
                    |place| matches!(place, PortPlace::Plugged { segment, .. } if segment == netns),
                );
                assert!(!plugged, "left with a port in it");
                self.held.remove(netns);
            }
            Step::Undefine => {
                assert!(!self.observed.active(), "undefined while it runs");
                self.observed.libvirt = None;
                self.observed.metadata = None;
            }
            Step::RemoveFiles => {
                assert!(self.observed.libvirt.is_none(), "disk of a defined domain");
                self.observed.files = None;
            }
        }
    }

    fn halt(&mut self, state: LibvirtState, reason: StateReason) {
        assert!(self.observed.active(), "not there to be resumed or halted");
        self.domain().state = state;
        self.domain().reason = reason;
    }

    fn define(&mut self, xml: &str) {
        assert!(self.files().disk.is_some(), "defined without a disk");
        let start = xml.find("<kilonova:owner").expect("our element");
        let end = start + xml[start..].find("/>").expect("its end") + 2;
        let element = &xml[start..end];
        self.observed.metadata = Some(Metadata::parse(element).expect("our element"));
        let metadata = Some(element.to_owned());
        let name = xml
            .split(['<', '>'])
            .skip_while(|part| *part != "name")
            .nth(1);
        let name = name.expect("a name");
        match &mut self.observed.libvirt {
            Some(domain) => {
                assert!(!domain.managed_save, "redefined while suspended");
                domain.metadata = metadata;
                domain.persistent = true;
            }
            none => {
                *none = Some(LibvirtDomain {
                    uuid: UUID.into(),
                    name: name.to_owned(),
                    state: LibvirtState::Shutoff,
                    reason: StateReason::Other,
                    persistent: true,
                    managed_save: false,
                    metadata,
                    vcpus: 1,
                    memory_bytes: 1 << 30,
                });
            }
        }
    }
}
