//! The two conditions of a Hypervisor that are the controllers': `Ready` and `InUse`.

use crate::conditions::{Verdict, condition};
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::Condition;
use kilonova_crds::condition::{carry_transition_times, types};
use kilonova_crds::v1alpha1::Hypervisor;

/// The conditions `Ready` and `InUse`, with the transition times of those that it has.
/// `instances`: `Cluster::instances_on`; `cordoned`: [`crate::host_state::cordoned`].
#[must_use]
pub fn conditions(
    hypervisor: &Hypervisor,
    lease_fresh: bool,
    cordoned: bool,
    instances: u32,
    now: Timestamp,
) -> Vec<Condition> {
    let verdict = match (lease_fresh, cordoned) {
        (true, false) => Verdict::ready("LeaseFresh"),
        (true, true) => {
            Verdict::ready_but("Cordoned", "nothing new comes here; what is here stays")
        }
        (false, _) => {
            let message = "its agent was not heard of lately: what runs there runs on, unseen";
            Verdict::unknown("LeaseStale", message)
        }
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
        let first = conditions(&hypervisor, true, false, 0, Timestamp::UNIX_EPOCH);
        hypervisor.status = Some(HypervisorStatus {
            conditions: first.clone(),
            ..Default::default()
        });
        let later = Timestamp::from_second(60).unwrap();
        assert_eq!(conditions(&hypervisor, true, false, 0, later), first);
        let stale = conditions(&hypervisor, false, true, 1, later);
        let ready = find(&stale, types::READY).unwrap();
        assert_eq!(ready.status, ConditionStatus::Unknown);
        assert_eq!(ready.last_transition_time.0, later);
        assert_eq!(
            find(&stale, types::IN_USE).unwrap().status,
            ConditionStatus::True
        );
        assert_eq!(
            conditions(&hypervisor, true, false, 2, later)[1],
            conditions(&hypervisor, true, false, 9, later)[1]
        );
    }

    #[test]
    fn a_cordoned_node_is_ready_and_says_that_nothing_comes() {
        let hypervisor = Hypervisor::new("n1", HypervisorSpec::default());
        let said = conditions(&hypervisor, true, true, 0, Timestamp::UNIX_EPOCH);
        let ready = find(&said, types::READY).unwrap();
        assert_eq!(ready.status, ConditionStatus::True);
        assert_eq!(ready.reason, "Cordoned");
        assert_eq!(ready.message, "nothing new comes here; what is here stays");
    }
}
