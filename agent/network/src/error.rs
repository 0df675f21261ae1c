//! What can go wrong with a node's network.

/// Why the network of the node is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not carried out yet.
    #[error("not built")]
    NotBuilt,
}
