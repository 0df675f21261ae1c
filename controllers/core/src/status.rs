//! Instance.status: one total pure function of everything that is known.

use crate::binding::Binding;
use crate::cluster::BindingFault;
use crate::lifecycle::Pause;
use crate::wait::Wait;
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::node::Domain;
use kilonova_crds::v1alpha1::{Instance, InstanceStatus};

/// What the scheduler says of the Instance now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict<'a> {
    /// The binding that is in its status stays, or nothing was decided yet.
    Keep,
    /// It has no binding, for that reason.
    Waits(&'a Wait),
    /// It gets this binding with this very write.
    Binds(&'a Binding),
    /// It loses its binding with this very write; the uuid stays.
    TakesBack(&'a BindingFault),
}

/// What the status is a function of.
#[derive(Clone, Copy, Debug)]
pub struct StatusInput<'a> {
    /// The Instance, its previous status included.
    pub instance: &'a Instance,
    /// What the scheduler says.
    pub verdict: Verdict<'a>,
    /// Its Domain in the namespace of the node that it is bound to.
    pub domain: Option<&'a Domain>,
    /// Whether the Lease of that node is fresh; `true` while it is not bound.
    pub hypervisor_ready: bool,
    /// What the lifecycle waits for, if it does.
    pub pause: Option<&'a Pause>,
    /// The time for conditions whose status changes now.
    pub now: Timestamp,
}

/// The status.
#[must_use]
pub fn instance_status(input: &StatusInput<'_>) -> InstanceStatus {
    let _ = input;
    todo!()
}

/// Whether the new status is worth a write: something that anyone could read differs.
#[must_use]
pub fn differs(old: Option<&InstanceStatus>, new: &InstanceStatus) -> bool {
    let _ = (old, new);
    todo!()
}
