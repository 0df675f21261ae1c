//! The two conditions of a Hypervisor that are the controllers': `Ready` and `InUse`.

use crate::conditions::{Verdict, condition};
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::Condition;
use kilonova_crds::condition::{carry_transition_times, types};
use kilonova_crds::v1alpha1::Hypervisor;

/// The conditions `Ready` and `InUse`, with the transition times of those that it has.
/// `instances`: `Cluster::instances_on`.
#[must_use]
pub fn conditions(
    hypervisor: &Hypervisor,
    lease_fresh: bool,
    instances: u32,
    now: Timestamp,
) -> Vec<Condition> {
    let verdict = if lease_fresh {
        Verdict::ready("LeaseFresh")
    } else {
        let message = "its agent was not heard of lately: what runs there runs on, unseen";
        Verdict::unknown("LeaseStale", message)
    };
    let reason = if instances > 0 { "Bound" } else { "Empty" };
    let mut next = verdict.into_conditions(now);
    // No count in the message: a write each time an instance comes or goes would be too many.
    next.push(condition(
        types::IN_USE,
        (instances > 0).into(),
        reason,
        "",
        now,
    ));
    let status = hypervisor.status.as_ref();
    let previous = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
    carry_transition_times(previous, next)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use kilonova_crds::ConditionStatus;
    use kilonova_crds::condition::find;
    use kilonova_crds::v1alpha1::{HypervisorSpec, HypervisorStatus};

    #[test]
    fn times_move_with_the_status_only() {
        let mut hypervisor = Hypervisor::new("n1", HypervisorSpec::default());
        let first = conditions(&hypervisor, true, 0, Timestamp::UNIX_EPOCH);
        hypervisor.status = Some(HypervisorStatus {
            conditions: first.clone(),
            ..Default::default()
        });
        let later = Timestamp::from_second(60).unwrap();
        assert_eq!(conditions(&hypervisor, true, 0, later), first);
        let stale = conditions(&hypervisor, false, 1, later);
        let ready = find(&stale, types::READY).unwrap();
        assert_eq!(ready.status, ConditionStatus::Unknown);
        assert_eq!(ready.last_transition_time.0, later);
        assert_eq!(
            find(&stale, types::IN_USE).unwrap().status,
            ConditionStatus::True
        );
        assert_eq!(
            conditions(&hypervisor, true, 2, later)[1],
            conditions(&hypervisor, true, 9, later)[1]
        );
    }
}
