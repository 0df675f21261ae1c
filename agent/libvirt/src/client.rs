//! The handle.

use crate::{Error, Events};
use kilonova_agent_core::observed::{LibvirtDomain, NodeFacts};
use std::time::Duration;

/// How long a call is waited for, and how many run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For what only asks, and for connecting.
    pub query: Duration,
    /// For what changes a domain at once.
    pub change: Duration,
    /// For what reads or writes a guest's memory: starting (which may restore it) and saving it.
    pub memory: Duration,
    /// Calls at once, hung ones among them; as many threads and connections.
    pub calls: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The first question for capabilities makes libvirtd probe QEMU: 4-8 s under emulation.
            query: Duration::from_secs(30),
            change: Duration::from_secs(60),
            memory: Duration::from_secs(600),
            calls: 16,
        }
    }
}

/// A libvirt daemon. Clones are one handle.
#[derive(Clone, Debug)]
pub struct Libvirt {}

impl Libvirt {
    /// Connects, and starts to listen for events.
    ///
    /// # Errors
    /// When there is no libvirtd at `uri` (`qemu:///system`); later losses are cured in the
    /// background.
    pub async fn connect(uri: &str, limits: Limits) -> Result<Self, Error> {
        let _ = (uri, limits);
        unimplemented!()
    }

    /// The events from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        unimplemented!()
    }

    /// What the node is and has.
    ///
    /// # Errors
    /// When libvirt does not answer, or not what was expected.
    pub async fn facts(&self) -> Result<NodeFacts, Error> {
        unimplemented!()
    }

    /// All domains.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub async fn list(&self) -> Result<Vec<LibvirtDomain>, Error> {
        unimplemented!()
    }

    /// One domain.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub async fn get(&self, uuid: &str) -> Result<Option<LibvirtDomain>, Error> {
        let _ = uuid;
        unimplemented!()
    }

    /// Defines a domain, or changes its definition, by its UUID.
    ///
    /// # Errors
    /// When libvirt refuses it.
    pub async fn define(&self, xml: &str) -> Result<(), Error> {
        let _ = xml;
        unimplemented!()
    }

    /// Starts it with its CPUs halted, from its saved memory where it has some. Success where it
    /// is active already.
    ///
    /// # Errors
    /// When it cannot be started; saved memory is kept then.
    pub async fn start_paused(&self, uuid: &str) -> Result<(), Error> {
        let _ = uuid;
        unimplemented!()
    }

    /// Lets its CPUs run. Success where they do.
    ///
    /// # Errors
    /// When it is off, or cannot be resumed.
    pub async fn resume(&self, uuid: &str) -> Result<(), Error> {
        let _ = uuid;
        unimplemented!()
    }

    /// Halts its CPUs. Success where they are halted.
    ///
    /// # Errors
    /// When it is off.
    pub async fn pause(&self, uuid: &str) -> Result<(), Error> {
        let _ = uuid;
        unimplemented!()
    }

    /// Presses its power button (ACPI); whether the guest obeys shows later. Success where it is
    /// off.
    ///
    /// # Errors
    /// When it cannot be pressed.
    pub async fn shutdown(&self, uuid: &str) -> Result<(), Error> {
        let _ = uuid;
        unimplemented!()
    }

    /// Cuts its power. Success where it is off, or not there.
    ///
    /// # Errors
    /// When QEMU cannot be ended.
    pub async fn destroy(&self, uuid: &str) -> Result<(), Error> {
        let _ = uuid;
        unimplemented!()
    }

    /// Saves its memory to disk and ends it. Success where that was done.
    ///
    /// # Errors
    /// When it is off without saved memory, or there is no room; it runs on then.
    pub async fn managed_save(&self, uuid: &str) -> Result<(), Error> {
        let _ = uuid;
        unimplemented!()
    }

    /// Throws its saved memory away. Success where it has none.
    ///
    /// # Errors
    /// When that cannot be done.
    pub async fn managed_save_remove(&self, uuid: &str) -> Result<(), Error> {
        let _ = uuid;
        unimplemented!()
    }

    /// Undefines it, with its saved memory, NVRAM, snapshots' and checkpoints' metadata. It must
    /// be off. Success where it is not there.
    ///
    /// # Errors
    /// When that cannot be done.
    pub async fn undefine(&self, uuid: &str) -> Result<(), Error> {
        let _ = uuid;
        unimplemented!()
    }

    /// Replaces the element that Kilonova keeps in its `<metadata>`, in the definition and, where
    /// it runs, live.
    ///
    /// # Errors
    /// When it is not there, or `element` is not well-formed.
    pub async fn set_metadata(&self, uuid: &str, element: &str) -> Result<(), Error> {
        let _ = (uuid, element);
        unimplemented!()
    }

    /// Its XML as it runs, or as it is defined where it is off.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn xml(&self, uuid: &str) -> Result<String, Error> {
        let _ = uuid;
        unimplemented!()
    }
}
