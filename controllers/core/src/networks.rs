//! Network.status, and its finalizer.

use k8s_openapi::jiff::Timestamp;
use kilonova_crds::v1alpha1::{Network, NetworkClass, NetworkStatus};

/// The status. A segment that was chosen stays, whatever becomes of the class. `in_use`:
/// `Cluster::network_in_use` or a Segment object of it.
#[must_use]
pub fn network_status(
    network: &Network,
    class: Option<&NetworkClass>,
    in_use: bool,
    now: Timestamp,
) -> NetworkStatus {
    let _ = (network, class, in_use, now);
    todo!()
}

/// What is to be done with a Network's finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalizerAction {
    /// Nothing.
    Nothing,
    /// Put it on.
    Add,
    /// Take it off.
    Remove,
}

/// What is to be done with its finalizer.
#[must_use]
pub fn finalizer(network: &Network, in_use: bool) -> FinalizerAction {
    let _ = (network, in_use);
    todo!()
}
