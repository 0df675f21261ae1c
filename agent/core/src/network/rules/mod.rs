//! The rule sets that `nft` reads, and what it says of those in the kernel.
//!
//! One table of ours, `kilonova`, for each family and netns. Every text is one transaction, and may
//! be applied again and again. The texts are made from parsed types alone: link names, MACs,
//! addresses and prefixes.

mod forward;
mod listing;
mod node;
mod port;
mod segment;
mod trial;

pub use forward::{ACCEPTS, ForwardChain, accept_forward, forward_chains, withdraw_forward};
pub use listing::{Listing, MalformedListing, Record};
pub use node::{node_rules, withdraw_node_rules};
pub use port::{port_rules, withdraw_port_rules};
pub use segment::segment_rules;
pub use trial::trial;

use ipnet::Ipv4Net;
use kilonova_crds::names::short_hash;
use std::fmt::Write;

/// The table that is ours, in each family and netns.
pub const TABLE: &str = "kilonova";
/// The verdict map of the bridge family: a port's name to its chain.
const PORTS: &str = "ports";
/// The chain of the bridge family that each frame from a port passes.
const INGRESS: &str = "ingress";
/// The chain of the bridge family that each frame passes before it leaves through a port.
const EGRESS: &str = "egress";
/// The chain of the bridge family that each frame from and to other nodes passes.
const BEYOND: &str = "beyond";

/// What Segments may reach beyond the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Ranges that no Segment reaches.
    pub blocked: Vec<Ipv4Net>,
    /// Ranges that Segments reach even so, the node's own addresses among them.
    pub allowed: Vec<Ipv4Net>,
    /// Where the addresses between Segments and node come from.
    pub transit: Ipv4Net,
}

/// Which text it is: equal digests, equal texts.
#[must_use]
pub fn digest(text: &str) -> String {
    short_hash(text, 32)
}

/// A named set of prefixes; overlaps are merged, as an interval set refuses them.
fn prefix_set(text: &mut String, name: &str, prefixes: &[Ipv4Net]) {
    let merged = Ipv4Net::aggregate(&prefixes.to_vec());
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\tset {name} {{\n\t\ttype ipv4_addr\n\t\tflags interval\n"
    );
    if !merged.is_empty() {
        let elements: Vec<_> = merged.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "\t\telements = {{ {} }}", elements.join(", "));
    }
    text.push_str("\t}\n");
}

#[cfg(test)]
mod tests;
