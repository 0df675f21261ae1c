//! Conditions: what holds of an object, and why.

use crate::node::reason;
use crate::schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be told now.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// One aspect of the object's state, as Kubernetes' `metav1.Condition` has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Name of the aspect, in `PascalCase`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// Why, in one `PascalCase` word for programs.
    pub reason: String,
    /// Why, in a sentence for people; empty when there is nothing to say.
    #[serde(default)]
    pub message: String,
    /// When `status` last changed.
    #[schemars(schema_with = "schema::date_time")]
    pub last_transition_time: Time,
    /// The `metadata.generation` that this was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The condition types that more than one room names.
pub mod types {
    /// What is observed is what is declared.
    pub const READY: &str = "Ready";
    /// Only a change of spec can help.
    pub const STALLED: &str = "Stalled";
    /// A Hypervisor is chosen and bound.
    pub const SCHEDULED: &str = "Scheduled";
    /// The image is usable, and its bytes are on the node.
    pub const IMAGE_READY: &str = "ImageReady";
    /// Every interface has its addresses, and its Segment is there.
    pub const NETWORK_READY: &str = "NetworkReady";
    /// The user data of `userDataFrom` was handed to the node, and taken out of the API again.
    pub const USER_DATA_READY: &str = "UserDataReady";
    /// An Instance's binding names this Hypervisor.
    pub const IN_USE: &str = "InUse";
    /// The Hypervisor's libvirt answers.
    pub const LIBVIRT_READY: &str = "LibvirtReady";
    /// The Hypervisor has what every guest needs.
    pub const GUESTS_READY: &str = "GuestsReady";
    /// It has what every network needs.
    pub const NETWORKS_READY: &str = "NetworksReady";
    /// It has what networks of the type `vlan` need, apart from a NIC.
    pub const VLANS_READY: &str = "VLANsReady";
    /// It has what networks of the type `flat` need, apart from a NIC.
    pub const FLAT_NETWORKS_READY: &str = "FlatNetworksReady";
}

/// The reasons of a `Ready` that is not True by which something is wrong, though it may go on by
/// itself; others are states on the way, or wanted. Events warn of them, and health checks call them
/// degraded.
pub const TROUBLE: [&str; 16] = [
    reason::CRASH_LOOP_BACK_OFF,
    reason::DISK_FAILED,
    reason::DISK_MISSING,
    reason::IMAGE_CHECKSUM_MISMATCH,
    reason::IMAGE_FAILED,
    reason::INSUFFICIENT_DISK,
    reason::INSUFFICIENT_MEMORY,
    reason::IO_ERROR,
    reason::LIBVIRT_ERROR,
    reason::REFUSED,
    reason::RESTORE_FAILED,
    reason::SEGMENT_FAILED,
    reason::USER_DATA_MISSING,
    // What the controllers say themselves.
    "LeaseStale",
    "NodeUnreachable",
    "SegmentShared",
];

/// The condition of that type, if the object has it.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Whether the object has the condition of that type with status True.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == ConditionStatus::True)
}

/// `next` with the transition times of `previous` where the status did not change.
#[must_use]
pub fn carry_transition_times(previous: &[Condition], mut next: Vec<Condition>) -> Vec<Condition> {
    for condition in &mut next {
        if let Some(old) = find(previous, &condition.type_)
            && old.status == condition.status
        {
            condition.last_transition_time = old.last_transition_time.clone();
        }
    }
    next
}
