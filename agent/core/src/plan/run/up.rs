//! What starts it, or keeps it going: taps beside libvirt, a halted start, rules before frames.

use super::{LOOK_AGAIN, Planner, lack};
use crate::desired::{Attachment, PortPlace};
use crate::plan::{Hold, ensure_segments, plug};
use crate::power::Action;
use crate::reason;
use crate::record::{LastStop, Record};
use crate::steps::Step;
use kilonova_crds::v1alpha1::Power;
use std::time::Duration;

/// Room that a guest which could not write must find before it is resumed: enough not to stop at
/// its next breath.
const IO_ROOM_BYTES: u64 = 256 << 20;

impl Planner<'_> {
    /// What starts it, or keeps it going.
    pub(super) fn up(
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
