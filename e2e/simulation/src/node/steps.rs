//! Carrying one step out.

use super::{Here, Machine};
use crate::scene::GIB;
use kilonova_agent_core::desired::PortPlace;
use kilonova_agent_core::observed::{LibvirtDomain, LibvirtState, StateReason};
use kilonova_agent_core::record::{DiskFile, InstanceFiles};
use kilonova_agent_core::steps::Step;

/// Why a step fails on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StepError(&'static str);

/// Fails unless it is so.
fn need(so: bool, otherwise: &'static str) -> Result<(), StepError> {
    so.then_some(()).ok_or(StepError(otherwise))
}

impl Machine {
    /// Carries one step out for the instance of that UUID.
    ///
    /// # Errors
    /// Where the machine cannot do that as it is now.
    pub fn carry_out(&mut self, uuid: &str, step: &Step) -> Result<(), StepError> {
        need(self.on, "the machine is off")?;
        self.changes += 1;
        if matches!(step, Step::FetchImage(_)) {
            self.image_cached = true;
            return Ok(());
        }
        let cached = self.image_cached;
        let here = self.here.entry(uuid.to_owned()).or_default();
        let done = here.carry_out(uuid, step, cached);
        if here.libvirt.is_none() && here.files.is_none() && here.ports.is_empty() {
            self.here.remove(uuid);
        }
        done
    }
}

impl Here {
    fn carry_out(&mut self, uuid: &str, step: &Step, cached: bool) -> Result<(), StepError> {
        match step {
            Step::Confirm
            | Step::FetchImage(_)
            | Step::EnsureSegment(_)
            | Step::LeaveSegment(_) => {}
            Step::WriteRecord(record) => self.directory(uuid).record = Some((**record).clone()),
            Step::CreateDisk { size_bytes, .. } => {
                need(cached, "no image to make a disk from")?;
                need(!self.has_disk(), "a disk over a disk")?;
                self.directory(uuid).disk = Some(DiskFile {
                    virtual_size_bytes: *size_bytes,
                    allocated_bytes: 0,
                    backing: None,
                });
            }
            Step::WriteConfigDrive(drive) => {
                self.directory(uuid).config_drive = Some(drive.digest());
            }
            Step::Define { xml } => self.define(uuid, xml)?,
            Step::SetMetadata { element } => self.domain()?.metadata = Some(element.clone()),
            Step::MakeTap(port) => {
                need(!self.ports.contains_key(&port.tap), "the tap is there")?;
                self.ports.insert(port.tap.clone(), PortPlace::Beside);
            }
            Step::Start { restore } => self.start(*restore)?,
            Step::Plug(port) => {
                need(self.ports.contains_key(&port.tap), "no tap to plug")?;
                let plugged = PortPlace::Plugged {
                    segment: port.segment.clone(),
                    current: true,
                };
                self.ports.insert(port.tap.clone(), plugged);
            }
            Step::Resume => self.halt(LibvirtState::Running, StateReason::Other)?,
            Step::Pause => self.halt(LibvirtState::Paused, StateReason::User)?,
            Step::Save => {
                need(self.is_active(), "nothing to save")?;
                let domain = self.domain()?;
                domain.managed_save = true;
                self.end(StateReason::Saved);
            }
            Step::Shutdown { .. } => self.end(StateReason::GuestShutdown),
            Step::Destroy => self.end(StateReason::Destroyed),
            Step::Discard => self.domain()?.managed_save = false,
            Step::Unplug { tap, .. } => {
                self.ports.remove(tap);
            }
            Step::Undefine => {
                need(!self.is_active(), "undefined while it runs")?;
                self.libvirt = None;
            }
            Step::RemoveFiles => {
                need(self.libvirt.is_none(), "the files of a defined domain")?;
                self.files = None;
            }
        }
        Ok(())
    }

    fn directory(&mut self, uuid: &str) -> &mut InstanceFiles {
        self.files.get_or_insert_with(|| InstanceFiles {
            uuid: uuid.to_owned(),
            record: None,
            disk: None,
            config_drive: None,
        })
    }

    fn domain(&mut self) -> Result<&mut LibvirtDomain, StepError> {
        self.libvirt.as_mut().ok_or(StepError("no libvirt domain"))
    }

    fn define(&mut self, uuid: &str, xml: &str) -> Result<(), StepError> {
        let metadata = element(xml).ok_or(StepError("no metadata"))?;
        if let Some(domain) = &mut self.libvirt {
            domain.metadata = Some(metadata);
            domain.persistent = true;
            return Ok(());
        }
        self.libvirt = Some(LibvirtDomain {
            uuid: uuid.to_owned(),
            name: uuid.to_owned(),
            state: LibvirtState::Shutoff,
            reason: StateReason::Other,
            persistent: true,
            managed_save: false,
            metadata: Some(metadata),
            vcpus: 1,
            memory_bytes: GIB,
        });
        Ok(())
    }

    fn start(&mut self, restore: bool) -> Result<(), StepError> {
        need(!self.is_active(), "it runs already")?;
        let drive = self
            .files
            .as_ref()
            .is_some_and(|f| f.config_drive.is_some());
        need(self.has_disk() && drive, "no disk to start from")?;
        let beside = |place: &PortPlace| *place == PortPlace::Beside;
        need(self.ports.values().all(beside), "a tap is not beside")?;
        let domain = self.domain()?;
        need(domain.managed_save == restore, "saved, or not")?;
        domain.state = LibvirtState::Paused;
        domain.reason = StateReason::Other;
        domain.managed_save = false;
        Ok(())
    }

    fn halt(&mut self, state: LibvirtState, reason: StateReason) -> Result<(), StepError> {
        need(self.is_active(), "it does not run")?;
        let domain = self.domain()?;
        domain.state = state;
        domain.reason = reason;
        Ok(())
    }

    /// What is off stays as it is.
    fn end(&mut self, reason: StateReason) {
        if !self.is_active() {
            return;
        }
        if let Some(domain) = &mut self.libvirt {
            domain.state = LibvirtState::Shutoff;
            domain.reason = reason;
        }
    }
}

/// Our element of a definition.
fn element(xml: &str) -> Option<String> {
    let start = xml.find("<kilonova:owner")?;
    let length = xml.get(start..)?.find("/>")? + 2;
    xml.get(start..start + length).map(str::to_owned)
}
