//! A machine with libvirt, files and taps, which carries out an agent's steps, and forgets at a
//! reboot what a machine forgets.

mod steps;

pub use steps::StepError;

use crate::scene::{CLUSTER, NODE_DISK};
use kilonova_agent_core::desired::{Observed, PortPlace, Room};
use kilonova_agent_core::hypervisor::{Ownership, ownership};
use kilonova_agent_core::network::LinkName;
use kilonova_agent_core::observed::{LibvirtDomain, LibvirtState, StateReason};
use kilonova_agent_core::power::active;
use kilonova_agent_core::record::InstanceFiles;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is here of one instance.
#[derive(Clone, Debug, Default)]
pub struct Here {
    /// Its libvirt domain.
    pub libvirt: Option<LibvirtDomain>,
    /// Its directory.
    pub files: Option<InstanceFiles>,
    /// Its taps.
    pub ports: BTreeMap<LinkName, PortPlace>,
}

impl Here {
    /// Whether its QEMU is there.
    #[must_use]
    pub fn is_active(&self) -> bool {
        let domain = self.libvirt.as_ref();
        domain.is_some_and(|domain| active(domain.state))
    }

    /// Whether its root disk is there.
    #[must_use]
    pub fn has_disk(&self) -> bool {
        self.files.as_ref().is_some_and(|f| f.disk.is_some())
    }

    /// Whether frames of it can reach the network.
    #[must_use]
    pub fn is_plugged(&self) -> bool {
        let plugged = |place: &PortPlace| matches!(place, PortPlace::Plugged { .. });
        self.is_active() && self.ports.values().any(plugged)
    }
}

/// A machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Its memory, in bytes.
    pub memory: u64,
    /// Memory that something takes which nobody was told of, in bytes.
    pub hidden: u64,
    /// Whether it has power.
    pub on: bool,
    /// What is here, by UUID.
    pub here: BTreeMap<String, Here>,
    /// How often something changed here.
    pub changes: u64,
    image_cached: bool,
}

impl Machine {
    /// A machine with so many bytes of memory.
    #[must_use]
    pub fn new(name: &str, memory: u64) -> Self {
        Self {
            name: name.to_owned(),
            memory,
            hidden: 0,
            on: true,
            here: BTreeMap::new(),
            changes: 0,
            image_cached: false,
        }
    }

    /// What the agent sees of one instance.
    #[must_use]
    pub fn observe(&self, uuid: &str, restart_wait: Option<Duration>) -> Observed {
        let here = self.here.get(uuid).cloned().unwrap_or_default();
        let metadata = here
            .libvirt
            .as_ref()
            .and_then(|domain| match ownership(CLUSTER, domain) {
                Ownership::Own(metadata) => Some(metadata),
                Ownership::Foreign => None,
            });
        Observed {
            libvirt: here.libvirt,
            metadata,
            files: here.files,
            ports: here.ports,
            image_cached: self.image_cached,
            room: self.room(),
            restart_wait,
        }
    }

    fn room(&self) -> Room {
        let domains = self.here.values().filter(|here| here.is_active());
        let taken: u64 = domains
            .filter_map(|here| Some(here.libvirt.as_ref()?.memory_bytes))
            .sum();
        Room {
            disk_bytes: NODE_DISK,
            memory_bytes: self.memory.saturating_sub(taken + self.hidden),
            save_bytes: NODE_DISK,
        }
    }

    /// The power goes: guests end, taps are gone; files and definitions stay.
    pub fn lose_power(&mut self) {
        self.on = false;
        self.changes += 1;
        for here in self.here.values_mut() {
            here.ports.clear();
            if let Some(domain) = &mut here.libvirt
                && active(domain.state)
            {
                domain.state = LibvirtState::Shutoff;
                domain.reason = StateReason::Other;
            }
        }
    }

    /// Its guest shuts itself down. False where there is none that could.
    pub fn guest_stops(&mut self, uuid: &str) -> bool {
        let Some(domain) = self.here.get_mut(uuid).and_then(|h| h.libvirt.as_mut()) else {
            return false;
        };
        if domain.state != LibvirtState::Running {
            return false;
        }
        domain.state = LibvirtState::Shutoff;
        domain.reason = StateReason::GuestShutdown;
        self.changes += 1;
        true
    }
}
