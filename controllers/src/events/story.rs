//! What a change of status is worth telling, as a pure function of the two: so that events and
//! status never say different things, and nothing is told twice.

use kilonova_controllers_core::lifecycle::WriteReason;
use kilonova_crds::condition::{find, types};
use kilonova_crds::v1alpha1::InstanceStatus;
use kilonova_crds::{Condition, ConditionStatus};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Told {
    /// Whether it is trouble.
    pub warning: bool,
    /// What happened, in one word for programs.
    pub reason: String,
    /// What happened, in a sentence for people.
    pub note: String,
    /// What was being done.
    pub action: &'static str,
}

/// Reasons of `Ready` that are trouble; others are states on the way, or wanted.
const TROUBLE: [&str; 13] = [
    "ImageFailed",
    "ImageChecksumMismatch",
    "SegmentFailed",
    "CrashLoopBackOff",
    "IOError",
    "DiskMissing",
    "DiskFailed",
    "RestoreFailed",
    "InsufficientMemory",
    "InsufficientDisk",
    "Refused",
    "LibvirtError",
    "NodeUnreachable",
];

/// What to tell when this status is written over that one.
pub fn told(old: Option<&InstanceStatus>, new: &InstanceStatus) -> Vec<Told> {
    let old = old.map(|s| s.conditions.as_slice()).unwrap_or_default();
    let scheduled = scheduled(find(old, types::SCHEDULED), new);
    let ready = ready(find(old, types::READY), find(&new.conditions, types::READY));
    scheduled.into_iter().chain(ready).collect()
}

fn scheduled(old: Option<&Condition>, new: &InstanceStatus) -> Option<Told> {
    let condition = find(&new.conditions, types::SCHEDULED)?;
    let was = |status| old.is_some_and(|old| old.status == status);
    match condition.status {
        ConditionStatus::True if was(ConditionStatus::True) => None,
        ConditionStatus::True => Some(Told {
            warning: false,
            reason: "Scheduled".to_owned(),
            note: format!("bound to node {}", new.node_name.as_deref()?),
            action: "Scheduling",
        }),
        _ if old.is_some_and(|old| same(old, condition)) => None,
        _ => Some(Told {
            warning: true,
            reason: condition.reason.clone(),
            note: condition.message.clone(),
            action: "Scheduling",
        }),
    }
}

fn ready(old: Option<&Condition>, new: Option<&Condition>) -> Option<Told> {
    let new = new?;
    if old.is_some_and(|old| old.status == new.status && old.reason == new.reason) {
        return None;
    }
    let was_lost = old.is_some_and(|old| old.status == ConditionStatus::Unknown);
    let told = |warning, reason: &str, note: String| Told {
        warning,
        reason: reason.to_owned(),
        note,
        action: "Running",
    };
    let holds = new.status == ConditionStatus::True;
    let plain = |reason, note: &str| Some(told(false, reason, note.to_owned()));
    match new.reason.as_str() {
        _ if holds && was_lost => plain("NodeAnswers", "its node answers again"),
        "Running" if holds => plain("Started", "the domain runs"),
        "Stopped" if holds => plain("Stopped", "the domain is off"),
        "Paused" if holds => plain("Paused", "the domain is paused"),
        "Suspended" if holds => plain("Suspended", "the domain's memory is on disk"),
        "GuestStopped" | "ImageDownloading" => Some(told(false, &new.reason, new.message.clone())),
        reason if TROUBLE.contains(&reason) => Some(told(true, reason, new.message.clone())),
        _ => None,
    }
}

fn same(old: &Condition, new: &Condition) -> bool {
    old.status == new.status && old.reason == new.reason && old.message == new.message
}

/// What to tell when the Domain is rewritten for that reason.
pub fn rewritten(why: WriteReason) -> Option<Told> {
    let (warning, reason, note) = match why {
        WriteReason::Purge => (
            false,
            "Terminating",
            "the node removes the domain and its disk",
        ),
        WriteReason::Refused => (true, "Refused", "the node has less room than was thought"),
        WriteReason::Duplicate => (true, "Duplicate", "a domain on another node is removed"),
        WriteReason::Dispatch
        | WriteReason::Change
        | WriteReason::Abandon
        | WriteReason::Expire => return None,
    };
    Some(Told {
        warning,
        reason: reason.to_owned(),
        note: note.to_owned(),
        action: "Dispatching",
    })
}
