//! MACs: chosen ones are derived, locally administered, and checked for collisions.

/// The gateway's MAC in a Network: derived from its uid, the same on every node, and of another
/// prefix than the ports' chosen ones.
#[must_use]
pub fn gateway_mac(network_uid: &str) -> String {
    let _ = network_uid;
    todo!()
}
