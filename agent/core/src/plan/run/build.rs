//! What must be there before anything runs: disk, record, config drive, definition.

use super::{Planner, lack};
use crate::definition::{Definition, definition, machine};
use crate::desired::{Attachment, attachments};
use crate::guest::Drive;
use crate::plan::{Hold, segments};
use crate::power::Action;
use crate::reason;
use crate::record::Record;
use crate::steps::Step;

impl Planner<'_> {
    /// Disk, record, config drive, definition.
    pub(super) fn build(
        &mut self,
        action: Action,
        record: &mut Record,
    ) -> Result<Vec<Attachment>, Hold> {
        let (desired, observed) = (self.desired, self.observed);
        let off = !observed.active() || matches!(action, Action::Shutdown { .. } | Action::Destroy);
        let saved = observed.seen().saved && action != Action::Discard;
        let disk_here = observed.files.as_ref().is_some_and(|f| f.disk.is_some());
        if !disk_here {
            self.may_make_disk(record)?;
            if !observed.image_cached {
                self.push(Step::FetchImage(desired.spec.image.clone()));
            }
        }
        let known = segments(desired, observed);
        let attachments = attachments(&desired.spec, &known)?;
        let drive = Drive::new(&desired.spec, &known)
            .map_err(|e| Hold::new(reason::DISK_FAILED, e.to_string()))?;
        let definition = self.definition(&attachments)?;
        if observed.libvirt.is_none() {
            self.push(Step::Confirm);
        }
        self.record(record);
        if !disk_here {
            self.make_disk(record)?;
        }
        self.config_drive(drive, off && !saved);
        self.define(&definition, off && !saved);
        Ok(attachments)
    }

    /// Whether a root disk that is missing may be made, and there is room for it.
    fn may_make_disk(&self, record: &Record) -> Result<(), Hold> {
        if record.disk_created {
            let message = "its root disk was made on this node and is gone; \
                           nothing makes a blank one in its place";
            return Err(Hold::new(reason::DISK_MISSING, message));
        }
        let refuse = |reason, what, needs| Hold {
            refused: true,
            ..Hold::new(reason, lack(what, needs))
        };
        let (memory, disk) = (self.memory_bytes()?, self.disk_bytes()?);
        if memory > self.observed.room.memory_bytes {
            return Err(refuse(reason::INSUFFICIENT_MEMORY, "memory", memory));
        }
        if disk > self.observed.room.disk_bytes {
            return Err(refuse(reason::INSUFFICIENT_DISK, "disk", disk));
        }
        Ok(())
    }

    fn make_disk(&mut self, record: &mut Record) -> Result<(), Hold> {
        let image = self.desired.spec.image.clone();
        let size_bytes = self.disk_bytes()?;
        self.push(Step::CreateDisk { image, size_bytes });
        record.disk_created = true;
        self.record(record);
        Ok(())
    }

    /// Writes the config drive where there is none, or another one while the guest is off.
    fn config_drive(&mut self, drive: Drive, changeable: bool) {
        let here = self.observed.files.as_ref();
        let stale = match here.and_then(|f| f.config_drive.as_deref()) {
            None => true,
            Some(written) => changeable && written != drive.digest(),
        };
        if stale {
            self.push(Step::WriteConfigDrive(drive));
        }
    }

    fn definition(&self, attachments: &[Attachment]) -> Result<Definition, Hold> {
        let machine = machine(self.node, self.observed.record());
        let name = self.observed.libvirt.as_ref().map(|d| d.name.as_str());
        definition(self.node, self.desired, attachments, &machine, name).map_err(|error| {
            let source = std::error::Error::source(&error);
            let cause = source.map(|s| format!(": {s}")).unwrap_or_default();
            Hold::new(reason::LIBVIRT_ERROR, format!("{error}{cause}"))
        })
    }

    /// Defines what is not, or is otherwise and may change now; says whose it is where that
    /// changed.
    fn define(&mut self, definition: &Definition, changeable: bool) {
        let desired = self.desired;
        match (&self.observed.libvirt, &self.observed.metadata) {
            (Some(_), Some(metadata)) => {
                if self.transient() || (changeable && metadata.definition != definition.digest) {
                    let xml = definition.xml.clone();
                    self.push(Step::Define { xml });
                } else if metadata.owner != desired.owner {
                    let metadata = crate::owner::Metadata {
                        owner: desired.owner.clone(),
                        definition: metadata.definition.clone(),
                    };
                    let element = metadata.to_xml();
                    self.push(Step::SetMetadata { element });
                }
            }
            _ => self.push(Step::Define {
                xml: definition.xml.clone(),
            }),
        }
    }
}
