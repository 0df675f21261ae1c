//! How conditions are made: `Ready`, with `Stalled` beside it where only a change of spec helps.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::condition::{carry_transition_times, types};
use kilonova_crds::{Condition, ConditionStatus};

/// A condition that changes its status now; when it did not, the old time is put back later.
pub(crate) fn condition(
    type_: &str,
    status: ConditionStatus,
    reason: &str,
    message: impl Into<String>,
    now: Timestamp,
) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status,
        reason: reason.to_owned(),
        message: message.into(),
        last_transition_time: Time(now),
        observed_generation: None,
    }
}

/// The conditions of an object that was written for newer controllers: those that it has, but for
/// what is said of it now.
#[must_use]
pub fn not_understood(has: &[Condition], why: &str, now: Timestamp) -> Vec<Condition> {
    let message = format!(
        "these controllers do not understand it ({why}): it is left as it is until they are upgraded"
    );
    let told = Verdict::stalled("NotUnderstood", message).into_conditions(now);
    let ours = |c: &&Condition| told.iter().all(|t| t.type_ != c.type_);
    let kept = has.iter().filter(ours).cloned().collect::<Vec<_>>();
    let next = kept.into_iter().chain(told.iter().cloned()).collect();
    carry_transition_times(has, next)
}

/// Whether an object is ready, and if not, why.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    status: ConditionStatus,
    reason: String,
    message: String,
    stalled: bool,
}

impl Verdict {
    /// It is; a message would say nothing.
    pub fn ready(reason: &str) -> Self {
        Self {
            status: ConditionStatus::True,
            reason: reason.to_owned(),
            message: String::new(),
            stalled: false,
        }
    }

    /// It is, with something to say all the same.
    pub fn ready_but(reason: &str, message: impl Into<String>) -> Self {
        Self {
            status: ConditionStatus::True,
            ..Self::not_ready(reason, message)
        }
    }

    /// Not now.
    pub fn not_ready(reason: &str, message: impl Into<String>) -> Self {
        Self {
            status: ConditionStatus::False,
            reason: reason.to_owned(),
            message: message.into(),
            stalled: false,
        }
    }

    /// Never, unless the spec changes.
    pub fn stalled(reason: &str, message: impl Into<String>) -> Self {
        Self {
            stalled: true,
            ..Self::not_ready(reason, message)
        }
    }

    /// It cannot be told.
    pub fn unknown(reason: &str, message: impl Into<String>) -> Self {
        Self {
            status: ConditionStatus::Unknown,
            ..Self::not_ready(reason, message)
        }
    }

    /// `Ready`, and `Stalled` where it is.
    pub fn into_conditions(self, now: Timestamp) -> Vec<Condition> {
        let ready = condition(types::READY, self.status, &self.reason, &self.message, now);
        let stalled = self.stalled.then(|| {
            let status = ConditionStatus::True;
            condition(types::STALLED, status, &self.reason, self.message, now)
        });
        std::iter::once(ready).chain(stalled).collect()
    }

    /// The same, with the transition times of the previous ones.
    pub fn conditions(self, previous: Option<&[Condition]>, now: Timestamp) -> Vec<Condition> {
        carry_transition_times(previous.unwrap_or_default(), self.into_conditions(now))
    }
}
