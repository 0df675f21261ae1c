//! `Domain.status`, from what is desired, what is observed and why it goes no further: pure.

use crate::desired::{Desired, Observed};
use crate::plan::Hold;
use crate::power::{self, stopped};
use crate::reason;
use crate::record::LastStop;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kilonova_crds::condition::{carry_transition_times, types};
use kilonova_crds::node::{Disposition, DomainStatus, Outcome};
use kilonova_crds::v1alpha1::{Power, PowerState};
use kilonova_crds::{Condition, ConditionStatus};

/// How far one pass came.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Nothing is left to be done.
    Settled,
    /// Steps are under way.
    Underway(Trouble),
    /// It waits.
    Held(Hold),
    /// A step failed; it is tried again.
    Failed(Trouble),
}

/// A reason, and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// One of [`crate::reason`].
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// What is said of an instance that was off when it was to be suspended.
const NOTHING_SAVED: &str = "it was off: there was no memory to save; power On starts it";

/// What is told before a guest that stopped by itself is started again, so that it does not pass
/// unseen.
#[must_use]
pub fn starting_again(observed: &Observed) -> Trouble {
    let seen = observed.seen();
    let message = match (power::active(seen.state), stopped(seen)) {
        (true, _) => "its guest was halted by a write that failed, and goes on",
        (false, LastStop::Guest) => "its guest shut itself down, and is started again",
        (false, LastStop::Crashed) => "its guest crashed, and is started again",
        (false, LastStop::Outside | LastStop::Asked) => {
            "its power was cut on the node, and it is started again"
        }
    };
    Trouble {
        reason: reason::STARTING,
        message: message.to_owned(),
    }
}

/// The status of a Domain. `previous` is the one that it has.
#[must_use]
pub fn domain_status(
    previous: Option<&DomainStatus>,
    desired: &Desired,
    observed: &Observed,
    progress: &Progress,
    now: &Time,
) -> DomainStatus {
    let (outcome, reason, message) = verdict(desired, observed, progress);
    let conditions = conditions(reason, &message, now);
    let gone = matches!(outcome, Some(Outcome::Purged | Outcome::Released));
    let kept = previous.map_or(&[][..], |p| &p.conditions);
    // What was refused is refused for what it was: that is not forgotten by looking again.
    let refused = Some(Outcome::Refused);
    let first = previous.filter(|p| outcome == refused && p.outcome == refused);
    let told = first.map(|p| (p.reason.clone(), p.message.clone()));
    let (reason, message) = told.unwrap_or((
        Some(reason.to_owned()),
        Some(message).filter(|m| !m.is_empty()),
    ));
    DomainStatus {
        observed_generation: desired.generation,
        power_state: (!gone).then(|| power_state(observed)).flatten(),
        outcome,
        reason,
        message,
        disk_created: outcome != Some(Outcome::Purged) && disk_created(previous, observed),
        conditions: carry_transition_times(kept, conditions),
    }
}

/// Whether it must be written: anything but a time differs.
#[must_use]
pub fn differs(previous: Option<&DomainStatus>, next: &DomainStatus) -> bool {
    previous != Some(next)
}

fn verdict(
    desired: &Desired,
    observed: &Observed,
    progress: &Progress,
) -> (Option<Outcome>, &'static str, String) {
    let spec = &desired.spec;
    match progress {
        Progress::Settled => {
            let (outcome, reason) = match spec.disposition {
                Disposition::Purge => (Outcome::Purged, reason::PURGED),
                Disposition::Release => (Outcome::Released, reason::RELEASED),
                Disposition::Run if spec.forfeited => (Outcome::Released, reason::RELEASED),
                Disposition::Run => (Outcome::Running, declared(observed)),
            };
            let nothing_saved = outcome == Outcome::Running
                && spec.power == Power::Suspended
                && power_state(observed) != Some(PowerState::Suspended);
            let message = if nothing_saved { NOTHING_SAVED } else { "" };
            (Some(outcome), reason, message.to_owned())
        }
        Progress::Held(hold) => {
            let outcome = hold.refused.then_some(Outcome::Refused);
            (outcome, hold.reason, hold.message.clone())
        }
        Progress::Underway(trouble) | Progress::Failed(trouble) => {
            (None, trouble.reason, trouble.message.clone())
        }
    }
}

/// The reason of a Domain that is as declared.
fn declared(observed: &Observed) -> &'static str {
    match power_state(observed) {
        Some(PowerState::Running) => reason::RUNNING,
        Some(PowerState::Paused) => reason::PAUSED,
        Some(PowerState::Suspended) => reason::SUSPENDED,
        Some(PowerState::Shutoff | PowerState::Crashed | PowerState::Unknown) | None => {
            reason::STOPPED
        }
    }
}

/// The power state that people see; none of what was never defined.
fn power_state(observed: &Observed) -> Option<PowerState> {
    observed.libvirt.as_ref()?;
    let seen = observed.seen();
    // One that was told to stop did not crash, whatever libvirt remembers.
    let asked = !power::active(seen.state) && stopped(seen) == LastStop::Asked && !seen.saved;
    Some(if asked {
        PowerState::Shutoff
    } else {
        power::power_state(seen)
    })
}

fn disk_created(previous: Option<&DomainStatus>, observed: &Observed) -> bool {
    let here = observed.files.as_ref().is_some_and(|f| f.disk.is_some());
    let recorded = observed.record().is_some_and(|r| r.disk_created);
    here || recorded || previous.is_some_and(|p| p.disk_created)
}

/// A condition for each kind of trouble that the controllers tell apart.
fn conditions(reason: &str, message: &str, now: &Time) -> Vec<Condition> {
    let type_ = match reason {
        reason::IMAGE_DOWNLOADING | reason::IMAGE_FAILED | reason::IMAGE_CHECKSUM_MISMATCH => {
            types::IMAGE_READY
        }
        reason::WAITING_FOR_SEGMENT | reason::SEGMENT_FAILED => types::NETWORK_READY,
        _ => return Vec::new(),
    };
    vec![Condition {
        type_: type_.to_owned(),
        status: ConditionStatus::False,
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: now.clone(),
        observed_generation: None,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;
    use crate::plan::simulation::{Node, desired, node as settings, nothing, spec};

    fn now() -> Time {
        Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn what_is_as_declared_says_so_once() {
        let desired = desired(spec());
        let mut node = Node::new(nothing(), false, desired.spec.ports.len());
        while let steps = plan(&settings(), &desired, &node.observed).steps
            && !steps.is_empty()
        {
            node.run(&steps);
        }
        let first = domain_status(None, &desired, &node.observed, &Progress::Settled, &now());
        assert_eq!(first.outcome, Some(Outcome::Running));
        assert_eq!(first.reason.as_deref(), Some(reason::RUNNING));
        assert_eq!(first.power_state, Some(PowerState::Running));
        assert!(first.disk_created && first.conditions.is_empty() && first.message.is_none());
        let again = domain_status(
            Some(&first),
            &desired,
            &node.observed,
            &Progress::Settled,
            &now(),
        );
        assert!(!differs(Some(&first), &again));
    }

    #[test]
    fn trouble_is_told_and_is_no_outcome() {
        let trouble = Trouble {
            reason: reason::IMAGE_FAILED,
            message: "the server answered 500".to_owned(),
        };
        let status = domain_status(
            None,
            &desired(spec()),
            &nothing(),
            &Progress::Failed(trouble),
            &now(),
        );
        assert_eq!(status.outcome, None);
        assert_eq!(status.power_state, None);
        assert_eq!(status.conditions[0].type_, types::IMAGE_READY);
        assert!(!status.disk_created);
    }

    #[test]
    fn a_refusal_is_an_outcome_and_keeps_its_reason() {
        let held = |reason, message| {
            Progress::Held(Hold {
                refused: true,
                ..Hold::new(reason, message)
            })
        };
        let (spec, progress) = (spec(), held(reason::INSUFFICIENT_MEMORY, "too little"));
        let first = domain_status(None, &desired(spec.clone()), &nothing(), &progress, &now());
        assert_eq!(first.outcome, Some(Outcome::Refused));
        assert_eq!(first.reason.as_deref(), Some(reason::INSUFFICIENT_MEMORY));
        let progress = held(reason::REFUSED, "it was refused before");
        let again = domain_status(Some(&first), &desired(spec), &nothing(), &progress, &now());
        assert!(!differs(Some(&first), &again), "{again:?}");
    }

    #[test]
    fn nothing_is_left_of_what_is_purged() {
        let mut spec = spec();
        spec.disposition = Disposition::Purge;
        let previous = DomainStatus {
            disk_created: true,
            ..DomainStatus::default()
        };
        let settled = Progress::Settled;
        let desired = desired(spec);
        let status = domain_status(Some(&previous), &desired, &nothing(), &settled, &now());
        assert_eq!(status.outcome, Some(Outcome::Purged));
        assert!(!status.disk_created && status.power_state.is_none());
    }
}
