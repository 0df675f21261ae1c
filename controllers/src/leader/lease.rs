//! What the Lease says, and what follows from it: pure.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::names::LEADER_LEASE;
use std::time::Duration;
use tokio::time::Instant;

/// How the Lease was when it last changed under our eyes.
#[derive(Debug, Default)]
pub struct Watcher {
    version: Option<String>,
    changed: Option<Instant>,
}

/// What may be done with the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is free: released, or not renewed for its duration, or ours from an earlier life.
    Take,
    /// Another holds it.
    Wait,
}

impl Watcher {
    /// Looks at the Lease. Their times are another machine's; only that it changed counts.
    pub fn look(&mut self, lease: &Lease, identity: &str, now: Instant) -> Verdict {
        if self.version != lease.metadata.resource_version {
            self.version.clone_from(&lease.metadata.resource_version);
            self.changed = Some(now);
        }
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        let seconds = spec.lease_duration_seconds.unwrap_or_default();
        let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let expired = self.changed.is_some_and(|at| now >= at + duration);
        if holder.is_empty() || holder == identity || expired {
            Verdict::Take
        } else {
            Verdict::Wait
        }
    }
}

/// A Lease that nobody has held yet, in our hands.
pub fn first(namespace: &str, identity: &str, duration: Duration) -> Lease {
    let metadata = ObjectMeta {
        name: Some(LEADER_LEASE.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectMeta::default()
    };
    taken(
        &Lease {
            metadata,
            spec: None,
        },
        identity,
        duration,
    )
}

/// The Lease in our hands: a transition more, even from ourselves, so that writes of an earlier
/// life are refused.
pub fn taken(lease: &Lease, identity: &str, duration: Duration) -> Lease {
    let now = MicroTime(Timestamp::now());
    let spec = LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)),
        lease_transitions: Some(transitions(lease).saturating_add(1)),
        acquire_time: Some(now.clone()),
        renew_time: Some(now),
        ..LeaseSpec::default()
    };
    Lease {
        metadata: lease.metadata.clone(),
        spec: Some(spec),
    }
}

/// The Lease renewed.
pub fn renewed(lease: &Lease) -> Lease {
    let mut lease = lease.clone();
    if let Some(spec) = &mut lease.spec {
        spec.renew_time = Some(MicroTime(Timestamp::now()));
    }
    lease
}

/// The Lease given up: free at once. The transitions stay.
pub fn released(lease: &Lease) -> Lease {
    let mut lease = renewed(lease);
    if let Some(spec) = &mut lease.spec {
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
    }
    lease
}

/// Whether it is still the Lease that we took.
pub fn ours(lease: &Lease, identity: &str, taken_at: i32) -> bool {
    let holder = lease.spec.as_ref().and_then(|s| s.holder_identity.as_ref());
    holder.is_some_and(|h| h == identity) && transitions(lease) == taken_at
}

/// How often it changed hands.
pub fn transitions(lease: &Lease) -> i32 {
    let spec = lease.spec.as_ref();
    spec.and_then(|s| s.lease_transitions).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        let mut lease = first("ns", holder, Duration::from_secs(15));
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    #[test]
    fn it_is_taken_when_nothing_changed_for_its_duration() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watcher = Watcher::default();
        assert_eq!(watcher.look(&lease("a", "1"), "b", at(0)), Verdict::Wait);
        assert_eq!(watcher.look(&lease("a", "2"), "b", at(14)), Verdict::Wait);
        assert_eq!(watcher.look(&lease("a", "2"), "b", at(28)), Verdict::Wait);
        assert_eq!(watcher.look(&lease("a", "2"), "b", at(29)), Verdict::Take);
    }

    #[test]
    fn released_and_own_leases_are_free_at_once() {
        let now = Instant::now();
        let look = |lease: &Lease, who| Watcher::default().look(lease, who, now);
        assert_eq!(look(&lease("a", "1"), "a"), Verdict::Take);
        assert_eq!(look(&released(&lease("a", "1")), "b"), Verdict::Take);
    }

    #[test]
    fn each_taking_counts_and_nothing_else() {
        let one = lease("a", "1");
        assert_eq!(transitions(&one), 1);
        assert_eq!(transitions(&renewed(&one)), 1);
        let free = released(&one);
        assert!(!ours(&free, "a", 1));
        let again = taken(&free, "a", Duration::from_secs(15));
        assert!(ours(&again, "a", 2) && !ours(&again, "a", 1) && !ours(&again, "b", 2));
    }
}
