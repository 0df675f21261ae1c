//! The two conditions of a Hypervisor that are the controllers': `Ready` and `InUse`.

use k8s_openapi::jiff::Timestamp;
use kilonova_crds::Condition;
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
    let _ = (hypervisor, lease_fresh, instances, now);
    todo!()
}
