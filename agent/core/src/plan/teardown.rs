//! The way out: Purge removes everything, Release keeps the disk.

use super::{Plan, unplug_all, wanted_record, write_record};
use crate::desired::{Desired, NodeSettings, Observed};
use crate::observed::{LibvirtState, StateReason};
use crate::record::LastStop;
use crate::steps::Step;

/// Shut down, unplugged, undefined, and its directory removed. The Domain is read anew first:
/// nothing is removed because of something remembered.
pub(super) fn purge(desired: &Desired, observed: &Observed) -> Plan {
    let mut steps = Vec::new();
    end(desired, observed, &mut steps);
    if observed.files.is_some() {
        steps.push(Step::RemoveFiles);
    }
    confirmed(steps)
}

/// Shut down, unplugged and undefined; disk and record stay.
pub(super) fn release(node: &NodeSettings, desired: &Desired, observed: &Observed) -> Plan {
    let mut steps = Vec::new();
    if observed.files.is_some() {
        let mut record = wanted_record(node, desired, observed);
        record.last_stop = Some(LastStop::Asked);
        write_record(&record, observed, &mut steps);
    }
    end(desired, observed, &mut steps);
    confirmed(steps)
}

fn confirmed(mut steps: Vec<Step>) -> Plan {
    if !steps.is_empty() {
        steps.insert(0, Step::Confirm);
    }
    Plan {
        steps,
        ..Plan::default()
    }
}

/// Ends what runs, unplugs it and undefines it. What is forfeited loses the network first: its
/// addresses may be another's by now.
fn end(desired: &Desired, observed: &Observed, steps: &mut Vec<Step>) {
    if desired.spec.forfeited {
        unplug_all(observed, steps);
    }
    if observed.active() {
        power_off(desired, observed, steps);
    }
    if !desired.spec.forfeited {
        unplug_all(observed, steps);
    }
    if observed.libvirt.is_some() {
        steps.push(Step::Undefine);
    }
}

/// Asks the guest to shut down where it can hear that, then cuts the power.
fn power_off(desired: &Desired, observed: &Observed, steps: &mut Vec<Step>) {
    let seen = observed.seen();
    let stuck = seen.state == LibvirtState::Paused && seen.reason == StateReason::IoError;
    let grace_seconds = desired.spec.termination_grace_period_seconds;
    if !stuck && grace_seconds > 0 {
        if seen.state == LibvirtState::Paused {
            steps.push(Step::Resume);
        }
        steps.push(Step::Shutdown { grace_seconds });
    }
    steps.push(Step::Destroy);
}
