//! What a change of status is worth telling, as a pure function of the two: so that events and
//! status never say different things, and nothing is told twice.

use kilonova_controllers_core::lifecycle::WriteReason;
use kilonova_crds::condition::{TROUBLE, find, types};
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

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    fn status(conditions: &[(&str, ConditionStatus, &str, &str)]) -> InstanceStatus {
        let conditions = conditions.iter();
        InstanceStatus {
            node_name: Some("node-1".to_owned()),
            conditions: conditions
                .map(|(type_, status, reason, message)| Condition {
                    type_: (*type_).to_owned(),
                    status: *status,
                    reason: (*reason).to_owned(),
                    message: (*message).to_owned(),
                    last_transition_time: Time(Timestamp::UNIX_EPOCH),
                    observed_generation: None,
                })
                .collect(),
            ..InstanceStatus::default()
        }
    }

    fn reasons(old: &InstanceStatus, new: &InstanceStatus) -> Vec<(String, bool)> {
        let told = told(Some(old), new);
        told.into_iter().map(|t| (t.reason, t.warning)).collect()
    }

    #[test]
    fn the_way_of_an_instance_is_told_once_and_in_order() {
        use ConditionStatus::{False, True, Unknown};
        let waits = status(&[
            ("Scheduled", False, "NoValidHost", "0/1"),
            ("Ready", False, "NoValidHost", "0/1"),
        ]);
        let bound = status(&[
            ("Scheduled", True, "Bound", ""),
            ("Ready", False, "Starting", ""),
        ]);
        let runs = status(&[
            ("Scheduled", True, "Bound", ""),
            ("Ready", True, "Running", ""),
        ]);
        let lost = status(&[
            ("Scheduled", True, "Bound", ""),
            ("Ready", Unknown, "NodeUnreachable", "m"),
        ]);
        let fails = status(&[
            ("Scheduled", True, "Bound", ""),
            ("Ready", False, "DiskMissing", "m"),
        ]);
        let way = [
            (InstanceStatus::default(), waits, "NoValidHost", true),
            (bound.clone(), runs.clone(), "Started", false),
            (runs.clone(), lost.clone(), "NodeUnreachable", true),
            (lost, runs.clone(), "NodeAnswers", false),
            (runs.clone(), fails, "DiskMissing", true),
            (InstanceStatus::default(), bound, "Scheduled", false),
        ];
        for (old, new, reason, warning) in way {
            assert_eq!(reasons(&old, &new), [(reason.to_owned(), warning)]);
            assert!(reasons(&new, &new).is_empty(), "{reason} is told twice");
        }
    }

    #[test]
    fn why_it_waits_is_told_anew_when_it_changes() {
        let waits = |message| status(&[("Scheduled", ConditionStatus::False, "X", message)]);
        assert_eq!(reasons(&waits("a"), &waits("b")).len(), 1);
        assert!(reasons(&waits("a"), &waits("a")).is_empty());
    }
}
