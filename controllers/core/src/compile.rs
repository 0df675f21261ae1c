//! Compiles what people want into what one node must have.

use kilonova_crds::node::{DomainSpec, SegmentSpec};
use kilonova_crds::v1alpha1::{Instance, Network};

/// The Domain that a bound Instance needs, with disposition Run. `None`: it is not bound (a
/// binding is whole or none).
#[must_use]
pub fn domain_spec(instance: &Instance, namespace_uid: &str) -> Option<DomainSpec> {
    let _ = (instance, namespace_uid);
    todo!()
}

/// Whether an existing Domain must be rewritten to become what is wanted. A root disk that was made
/// under `rootDisk: Create` is no reason (the agent knows that it made it), nor is another
/// `namespaceUid` (what was said first stays).
#[must_use]
pub fn needs_update(existing: &DomainSpec, wanted: &DomainSpec) -> bool {
    let _ = (existing, wanted);
    todo!()
}

/// The Segment that a node with a port of that Network needs. `None`: its segment is not chosen
/// yet (the Network is not Ready), or its subnets are no subnets.
#[must_use]
pub fn segment_spec(network: &Network) -> Option<SegmentSpec> {
    let _ = network;
    todo!()
}
