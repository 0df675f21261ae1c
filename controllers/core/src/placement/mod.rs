//! Placement: which hypervisor takes an Instance. Filters say which can, weighers which of those
//! is best: Nova's filter scheduler.

mod filter;
mod weights;

pub use filter::{Filter, NoValidHost};
pub use weights::Weights;

/// Where an Instance goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The node.
    pub node: std::sync::Arc<str>,
}
