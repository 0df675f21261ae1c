//! The network of a node as values: what a Segment and its ports should be, what they are, what is
//! to be done, and every text that `nft` and `dnsmasq` read.
//!
//! A Segment is one netns with a bridge in it; a port is a tap that was moved into it. What comes
//! from an object is parsed here, once, into types that can hold nothing but a MAC, an address, a
//! host name or a link's name; the texts are made of those types alone. So nothing that a tenant
//! wrote reaches a rule set or a configuration file as it was written.
//!
//! Nothing here runs a program, opens a socket or reads a file.

mod desired;
pub mod dhcp;
mod mac;
mod names;
mod nic;
mod observed;
pub mod plan;
pub mod rules;
mod transit;

pub use desired::{
    InvalidPort, InvalidSegment, NetworkRef, PortDesired, RouteDesired, SegmentDesired,
    SubnetDesired, Uplink,
};
pub use dhcp::DhcpFiles;
pub use mac::{InvalidMac, Mac};
pub use names::{Hostname, InvalidName, LinkName, Netns};
pub use nic::{
    InvalidNic, NicFault, NicMapping, NicObserved, PhysicalNetwork, PhysicalNetworks, is_everywhere,
};
pub use observed::{
    DhcpObserved, LinkKind, LinkObserved, NodeNetwork, NodeSide, PortObserved, RulesState,
    SegmentObserved,
};
pub use transit::{Exhausted, Transit};

use names::TRANSIT_PREFIX;

/// The bridge of a Segment, in its netns.
pub const BRIDGE: &str = "br0";
/// The link that leads out of a Segment, in its netns.
pub const OUTWARD: &str = "out0";
/// The port of the bridge that leads to the Segment's other nodes, in its netns.
pub const UPLINK: &str = "up0";

#[cfg(test)]
mod tests;
