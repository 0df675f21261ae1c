//! The way in: a Domain that is to be here, in the declared power state.

use super::{
    Hold, Plan, ensure_segments, plug, segments, unplug, unplug_all, wanted_record, write_record,
};
use crate::definition::{Definition, definition, machine};
use crate::desired::{Attachment, Desired, NodeSettings, Observed, PortPlace, attachments};
use crate::guest::{self, Files};
use crate::network::LinkName;
use crate::power::{self, Action, stopped};
use crate::reason;
use crate::record::{LastStop, Record};
use crate::steps::Step;
use kilonova_crds::v1alpha1::Power;
use std::collections::BTreeSet;
use std::time::Duration;

/// Room that a guest which could not write must find before it is resumed: enough not to stop at
/// its next breath.
const IO_ROOM_BYTES: u64 = 256 << 20;
/// How often a lack that no event tells of is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// What one plan is made from and grows into.
struct Planner<'a> {
    node: &'a NodeSettings,
    desired: &'a Desired,
    observed: &'a Observed,
    plan: Plan,
}

pub(super) fn run(node: &NodeSettings, desired: &Desired, observed: &Observed) -> Plan {
    let mut planner = Planner {
        node,
        desired,
        observed,
        plan: Plan::default(),
    };
    if let Err(hold) = planner.go() {
        planner.plan.hold = Some(hold);
    }
    planner.plan
}

impl Planner<'_> {
    /// Power's way down, then what must be there, then power's way up.
    fn go(&mut self) -> Result<(), Hold> {
        let mut record = wanted_record(self.node, self.desired, self.observed);
        let action = match power::action(self.observed.seen(), self.desired.declared()) {
            // libvirt saves the memory of what is defined only: this plan defines it, the next
            // one saves it.
            Action::Save if self.transient() => Action::Stay,
            action => action,
        };
        self.down(action, &mut record);
        let attachments = self.build(action, &mut record)?;
        self.up(action, &mut record, &attachments)
    }

    /// Whether its libvirt domain runs and is not defined: someone undefined it.
    fn transient(&self) -> bool {
        let domain = self.observed.libvirt.as_ref();
        domain.is_some_and(|domain| !domain.persistent)
    }

    fn push(&mut self, step: Step) {
        self.plan.steps.push(step);
    }

    /// Writes the record where it differs from what the node has, or will have by then.
    fn record(&mut self, record: &Record) {
        let written = self.plan.steps.iter().rev().find_map(|step| match step {
            Step::WriteRecord(record) => Some(&**record),
            _ => None,
        });
        match written {
            Some(written) if written == record => {}
            Some(_) => self.push(Step::WriteRecord(Box::new(record.clone()))),
            None => write_record(record, self.observed, &mut self.plan.steps),
        }
    }

    /// What ends or halts it, and what an end leaves to be cleared.
    fn down(&mut self, action: Action, record: &mut Record) {
        let grace_seconds = self.desired.spec.termination_grace_period_seconds;
        match action {
            Action::Shutdown { resume } => {
                record.last_stop = Some(LastStop::Asked);
                self.record(record);
                if grace_seconds > 0 {
                    if resume {
                        self.push(Step::Resume);
                    }
                    self.push(Step::Shutdown { grace_seconds });
                }
                self.push(Step::Destroy);
            }
            Action::Destroy => {
                record.last_stop = Some(LastStop::Asked);
                self.record(record);
                self.push(Step::Destroy);
            }
            Action::Discard => {
                record.last_stop = Some(LastStop::Asked);
                self.push(Step::Discard);
            }
            Action::Save if self.save_room().is_none() => {
                record.last_stop = Some(LastStop::Asked);
                self.record(record);
                self.push(Step::Save);
            }
            Action::Stay if !self.observed.active() => record.last_stop = Some(LastStop::Asked),
            // What libvirt forgets when its node reboots is kept here.
            Action::GuestStopped | Action::Start { again: true, .. } => {
                record.last_stop = Some(stopped(self.observed.seen()));
            }
            _ => {}
        }
        if self.stays_off(action) {
            unplug_all(self.observed, &mut self.plan.steps);
        } else if matches!(action, Action::Start { .. } | Action::Restore { .. }) {
            // A tap in a Segment is not where libvirt looks for it: made anew.
            let uuid = &self.desired.spec.uuid;
            let ports = 0..self.desired.spec.ports.len();
            let own: BTreeSet<_> = ports.map(|index| LinkName::tap(uuid, index)).collect();
            let left = |(tap, place): &(&LinkName, &PortPlace)| {
                **place != PortPlace::Beside || !own.contains(tap)
            };
            let left = self.observed.ports.iter().filter(left);
            self.plan
                .steps
                .extend(left.map(|(tap, at)| unplug(tap, at)));
        }
    }

    /// Whether no QEMU is there when the plan's first part is done, nor will be.
    fn stays_off(&self, action: Action) -> bool {
        match action {
            Action::Shutdown { .. } | Action::Destroy | Action::Discard | Action::GuestStopped => {
                true
            }
            Action::Save => self.save_room().is_none(),
            Action::Stay => !self.observed.active(),
            Action::Start { again, .. } => again && self.observed.restart_wait.is_some(),
            Action::Await
            | Action::Restore { .. }
            | Action::Resume
            | Action::ResumeAfterIoError
            | Action::Pause => false,
        }
    }

    /// Disk, record, config drive, definition.
    fn build(&mut self, action: Action, record: &mut Record) -> Result<Vec<Attachment>, Hold> {
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
        let files = guest::files(&desired.spec, &known)
            .map_err(|e| Hold::new(reason::DISK_FAILED, e.to_string()))?;
        let definition = self.definition(&attachments)?;
        if observed.libvirt.is_none() {
            self.push(Step::Confirm);
        }
        self.record(record);
        if !disk_here {
            self.make_disk(record)?;
        }
        self.config_drive(files, off && !saved);
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
    fn config_drive(&mut self, files: Files, changeable: bool) {
        let here = self.observed.files.as_ref();
        let stale = match here.and_then(|f| f.config_drive.as_deref()) {
            None => true,
            Some(written) => changeable && written != guest::digest(&files),
        };
        if stale {
            self.push(Step::WriteConfigDrive(files));
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

    /// What starts it, or keeps it going.
    fn up(
        &mut self,
        action: Action,
        record: &mut Record,
        attachments: &[Attachment],
    ) -> Result<(), Hold> {
        let gone = match action {
            Action::Stay | Action::Resume | Action::ResumeAfterIoError | Action::Pause
                if self.observed.active() =>
            {
                self.keep_plugged(attachments)
            }
            _ => None,
        };
        match action {
            Action::Stay if self.observed.active() && self.desired.spec.power == Power::On => {
                record.last_stop = None;
            }
            Action::Start { paused, again } => {
                if again && let Some(wait) = self.observed.restart_wait {
                    return Err(backing_off(record, wait));
                }
                self.plan.again = again;
                self.start(false, paused, record, attachments)?;
            }
            Action::Restore { paused } => self.start(true, paused, record, attachments)?,
            Action::Resume => {
                self.push(Step::Resume);
                record.last_stop = None;
            }
            Action::ResumeAfterIoError => {
                self.resume_after_io_error()?;
                record.last_stop = None;
            }
            Action::Pause => {
                self.push(Step::Pause);
                record.last_stop = None;
            }
            Action::Save => self.save_room().map_or(Ok(()), Err)?,
            Action::GuestStopped => return Err(guest_stopped(record)),
            Action::Await => {
                let message = "its guest is shutting down";
                return Err(Hold::new(reason::STOPPING, message));
            }
            Action::Stay | Action::Shutdown { .. } | Action::Destroy | Action::Discard => {}
        }
        self.record(record);
        gone.map_or(Ok(()), Err)
    }

    fn start(
        &mut self,
        restore: bool,
        paused: bool,
        record: &mut Record,
        attachments: &[Attachment],
    ) -> Result<(), Hold> {
        let needs = self.memory_bytes()?;
        let has = self.observed.room.memory_bytes;
        if needs > has {
            return Err(Hold {
                wake: Some(LOOK_AGAIN),
                ..Hold::new(reason::INSUFFICIENT_MEMORY, lack("memory", needs))
            });
        }
        ensure_segments(attachments.iter(), &mut self.plan.steps);
        for Attachment { port, .. } in attachments {
            if self.observed.ports.get(&port.tap) != Some(&PortPlace::Beside) {
                self.push(Step::MakeTap(port.clone()));
            }
        }
        self.push(Step::Start { restore });
        let ports = attachments.iter().map(|a| Step::Plug(a.port.clone()));
        self.plan.steps.extend(ports);
        if !paused {
            self.push(Step::Resume);
        }
        record.last_stop = None;
        Ok(())
    }

    /// Plugs what lies beside libvirt or is not as it should be. A tap that is gone cannot be given
    /// back to a QEMU that holds it open.
    fn keep_plugged(&mut self, attachments: &[Attachment]) -> Option<Hold> {
        let observed = self.observed;
        let place = |a: &Attachment| observed.ports.get(&a.port.tap);
        let stale = |a: &&Attachment| match place(a) {
            Some(PortPlace::Beside) => true,
            Some(PortPlace::Plugged { current, .. }) => !current,
            Some(PortPlace::Remains { .. }) | None => false,
        };
        plug(attachments.iter().filter(stale), &mut self.plan.steps);
        let lost = |a: &&Attachment| matches!(place(a), None | Some(PortPlace::Remains { .. }));
        let gone = attachments.iter().find(lost)?;
        let tap = &gone.port.tap;
        let message = format!(
            "its tap {tap} is gone from the node; \
             it comes back when the instance is powered off and on"
        );
        Some(Hold::new(reason::SEGMENT_FAILED, message))
    }

    fn resume_after_io_error(&mut self) -> Result<(), Hold> {
        let room = self.observed.room.disk_bytes >= IO_ROOM_BYTES;
        let wait = self.observed.restart_wait;
        if !room || wait.is_some() {
            let message = "its guest is halted because a write to its disk failed, as on a full \
                           disk; it goes on once the node has room";
            return Err(Hold {
                wake: Some(wait.unwrap_or(LOOK_AGAIN)),
                ..Hold::new(reason::IO_ERROR, message)
            });
        }
        self.plan.again = true;
        self.push(Step::Resume);
        Ok(())
    }

    /// Why its memory cannot be saved.
    fn save_room(&self) -> Option<Hold> {
        let needs = self.memory_bytes().ok()?;
        let has = self.observed.room.save_bytes;
        (needs > has).then(|| Hold {
            wake: Some(LOOK_AGAIN),
            ..Hold::new(
                reason::INSUFFICIENT_DISK,
                lack("disk to save its memory", needs),
            )
        })
    }

    fn memory_bytes(&self) -> Result<u64, Hold> {
        let memory = self.desired.spec.memory.bytes();
        memory.map_err(|e| Hold::new(reason::LIBVIRT_ERROR, format!("memory: {e}")))
    }

    fn disk_bytes(&self) -> Result<u64, Hold> {
        let disk = self.desired.spec.disk.bytes();
        disk.map_err(|e| Hold::new(reason::DISK_FAILED, format!("disk: {e}")))
    }
}

/// What is lacking. How much there is instead is not said: it changes all the time, and each change
/// would be a write.
fn lack(what: &str, needs: u64) -> String {
    let mebibytes = needs.div_ceil(1 << 20);
    format!("too little {what} on this node: {mebibytes} MiB are needed")
}

fn backing_off(record: &Record, wait: Duration) -> Hold {
    let how = match record.last_stop {
        Some(LastStop::Guest) => "shut itself down",
        Some(LastStop::Crashed) => "crashed",
        Some(LastStop::Outside | LastStop::Asked) | None => "was stopped",
    };
    Hold {
        wake: Some(wait),
        ..Hold::new(
            reason::CRASH_LOOP_BACK_OFF,
            format!("its guest {how} again and again; it is started again after a while"),
        )
    }
}

fn guest_stopped(record: &Record) -> Hold {
    let how = match record.last_stop {
        Some(LastStop::Crashed) => "crashed",
        Some(LastStop::Guest | LastStop::Outside | LastStop::Asked) | None => "shut itself down",
    };
    let message = format!(
        "its guest {how} and its restartPolicy leaves it so; power Off and On again starts it"
    );
    Hold::new(reason::GUEST_STOPPED, message)
}
