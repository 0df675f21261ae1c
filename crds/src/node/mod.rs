//! `node.kilonova.dev/v1alpha1`: what controllers ask of one agent, in its node namespace. Only
//! the controllers write these, so that the schemas are lean: no CEL, no deep validation.

mod domain;
pub mod reason;
mod segment;

pub use domain::{
    Disposition, Domain, DomainGuest, DomainImage, DomainInstance, DomainPort, DomainSpec,
    DomainStatus, Outcome, RootDisk,
};
pub use segment::{Segment, SegmentNetwork, SegmentObserved, SegmentSpec, SegmentSubnet};
