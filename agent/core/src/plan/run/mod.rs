//! The way in: a Domain that is to be here, in the declared power state. Power's way down comes
//! first, then what must be there ([`build`]), then power's way up ([`up`]).

mod build;
mod up;

use super::{Hold, Plan, unplug, unplug_all, wanted_record, write_record};
use crate::desired::{Desired, NodeSettings, Observed, PortPlace};
use crate::network::LinkName;
use crate::power::{self, Action, stopped};
use crate::reason;
use crate::record::{LastStop, Record};
use crate::steps::Step;
use std::collections::BTreeSet;
use std::time::Duration;

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
