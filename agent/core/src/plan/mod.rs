//! From what a node should have of one instance and what it has: the steps between.
//!
//! A plan tears down before it builds up, leaves no choice to who carries it out, and says why it
//! goes no further where it does not. The same twice gives nothing to do. It never waits and never
//! asks; what is foreign, or held as an orphan, has no steps at all.

mod run;
mod teardown;

use crate::desired::{Attachment, Desired, NodeSettings, Observed, PortPlace, attachments};
use crate::network::{LinkName, SegmentDesired};
use crate::reason;
use crate::record::{LastStop, Record};
use crate::steps::Step;
use kilonova_crds::node::{Disposition, SegmentSpec};
use std::collections::BTreeSet;
use std::time::Duration;

/// What is to be done, and why no more than that.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Why it goes no further than its steps.
    pub hold: Option<Hold>,
    /// True: a guest that stopped by itself is started again, or one is resumed after an I/O
    /// error; the next time it has to wait longer.
    pub again: bool,
}

/// Why a Domain waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// One of [`crate::reason`].
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
    /// True: this node refuses the Domain for good.
    pub refused: bool,
    /// After how long something may have changed that no event tells of.
    pub wake: Option<Duration>,
}

impl Hold {
    /// A Domain that waits until something changes.
    #[must_use]
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            refused: false,
            wake: None,
        }
    }
}

impl Plan {
    fn hold(hold: Hold) -> Self {
        Self {
            hold: Some(hold),
            ..Self::default()
        }
    }
}

/// What is to be done for a Domain.
#[must_use]
pub fn plan(node: &NodeSettings, desired: &Desired, observed: &Observed) -> Plan {
    if let Some(hold) = conflict(desired, observed) {
        return Plan::hold(hold);
    }
    match desired.spec.disposition {
        Disposition::Purge => teardown::purge(desired, observed),
        Disposition::Release => teardown::release(node, desired, observed),
        // Its node was declared gone: it may run elsewhere by now.
        Disposition::Run if desired.spec.forfeited => teardown::release(node, desired, observed),
        Disposition::Run if desired.refused && observed.libvirt.is_none() => Plan::hold(Hold {
            refused: true,
            ..Hold::new(reason::REFUSED, "this node refused it before")
        }),
        Disposition::Run => run::run(node, desired, observed),
    }
}

/// What is to be done for an instance of ours that no Domain names: it is held, and only what it is
/// served with is kept up. A tap that lies beside libvirt stays there.
#[must_use]
pub fn held(record: &Record, observed: &Observed) -> Plan {
    let mut steps = Vec::new();
    if observed.active()
        && let Ok(attachments) = attachments(&record.spec, &record.segments)
    {
        let stale = |a: &&Attachment| {
            let place = observed.ports.get(&a.port.tap);
            matches!(place, Some(PortPlace::Plugged { current: false, .. }))
        };
        plug(attachments.iter().filter(stale), &mut steps);
    }
    Plan {
        steps,
        ..Plan::default()
    }
}

/// What on the node bears the Domain's UUID and is not ours: nothing is done to it.
fn conflict(desired: &Desired, observed: &Observed) -> Option<Hold> {
    let uuid = &desired.spec.uuid;
    if observed.libvirt.is_some() && observed.metadata.is_none() {
        let message =
            format!("a libvirt domain with UUID {uuid} is here that is not this cluster's");
        return Some(Hold::new(reason::LIBVIRT_ERROR, message));
    }
    let record = observed.record()?;
    (record.owner.cluster_id != desired.owner.cluster_id).then(|| {
        let message = format!("the directory of {uuid} belongs to another cluster");
        Hold::new(reason::DISK_FAILED, message)
    })
}

/// The record that should stand beside the disk.
fn wanted_record(node: &NodeSettings, desired: &Desired, observed: &Observed) -> Record {
    let old = observed.record();
    // A definition comes after the disk: where there is one, there was the other.
    let disk_made =
        observed.libvirt.is_some() || observed.files.as_ref().is_some_and(|f| f.disk.is_some());
    Record {
        owner: desired.owner.clone(),
        spec: desired.spec.clone(),
        segments: segments(desired, observed),
        machine: Some(crate::definition::machine(node, old)),
        disk_created: disk_made || desired.disk_existed || old.is_some_and(|r| r.disk_created),
        last_stop: match old {
            Some(record) => record.last_stop,
            None if observed.libvirt.is_some() => None,
            None => Some(LastStop::Asked),
        },
    }
}

/// The Segments of its ports: the API's, and where it has one no more, what the record remembers.
fn segments(desired: &Desired, observed: &Observed) -> Vec<SegmentSpec> {
    let names: BTreeSet<&String> = desired.spec.ports.iter().map(|p| &p.segment).collect();
    let remembered = observed.record().map_or(&[][..], |r| &r.segments);
    let find = |name: &&String| {
        let mut known = desired.segments.iter().chain(remembered);
        known.find(|s| s.network.uid == **name).cloned()
    };
    names.iter().filter_map(find).collect()
}

/// Writes the record where it differs from the one that is there.
fn write_record(wanted: &Record, observed: &Observed, steps: &mut Vec<Step>) {
    if observed.record() != Some(wanted) {
        steps.push(Step::WriteRecord(Box::new(wanted.clone())));
    }
}

/// Removes every tap of it, and lets go of their Segments.
fn unplug_all(observed: &Observed, steps: &mut Vec<Step>) {
    steps.extend(observed.ports.iter().map(|(tap, place)| unplug(tap, place)));
    let segments: BTreeSet<_> = observed.ports.values().filter_map(netns).collect();
    steps.extend(segments.into_iter().cloned().map(Step::LeaveSegment));
}

fn unplug(tap: &LinkName, place: &PortPlace) -> Step {
    Step::Unplug {
        tap: tap.clone(),
        segment: netns(place).cloned(),
    }
}

fn netns(place: &PortPlace) -> Option<&crate::network::Netns> {
    match place {
        PortPlace::Beside => None,
        PortPlace::Plugged { segment, .. } | PortPlace::Remains { segment } => Some(segment),
    }
}

/// Has the Segments of these ports, each once.
fn ensure_segments<'a>(attachments: impl Iterator<Item = &'a Attachment>, steps: &mut Vec<Step>) {
    let mut done: Vec<&SegmentDesired> = Vec::new();
    for attachment in attachments {
        if !done.contains(&&attachment.segment) {
            done.push(&attachment.segment);
            steps.push(Step::EnsureSegment(attachment.segment.clone()));
        }
    }
}

/// Plugs these ports, their Segments first.
fn plug<'a>(attachments: impl Iterator<Item = &'a Attachment> + Clone, steps: &mut Vec<Step>) {
    ensure_segments(attachments.clone(), steps);
    steps.extend(attachments.map(|a| Step::Plug(a.port.clone())));
}

#[cfg(test)]
pub(crate) mod simulation;
#[cfg(test)]
mod tests;
