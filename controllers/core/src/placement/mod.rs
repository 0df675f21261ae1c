//! Placement: which hypervisor takes an Instance. Filters say which can, weighers which of those
//! is best: Nova's filter scheduler.
//!
//! Every host is looked at for every decision, so that a decision is right and not only likely;
//! what makes that fast:
//! - free amounts lie in arrays, kept as claims come and go ([`Hosts`]);
//! - what of a host does not depend on claims (labels, taints, architecture) is evaluated once for
//!   each distinct set of constraints and kept (`constraints`);
//! - where the instances of a label selector are is counted as they come and go (`affinity`).
//!
//! Ties go to the name that sorts first, so that the same state always gives the same decision.

mod affinity;
mod constraints;
mod counts;
mod decide;
mod filter;
mod hosts;
mod matching;
mod request;
mod weights;

pub use filter::{Filter, NoValidHost};
pub use hosts::Hosts;
pub(crate) use matching::selects;
pub(crate) use request::anti_affinity;
pub use request::{Constraints, Request, Term, UplinkNeed};
pub use weights::Weights;

/// Where an Instance goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The node.
    pub node: std::sync::Arc<str>,
}

#[cfg(test)]
mod tests;
