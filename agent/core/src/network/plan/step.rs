//! The steps of a plan, as data.

use crate::network::rules::ForwardChain;
use crate::network::{LinkName, Mac};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// Where a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the node's own netns.
    Node,
    /// In the Segment's.
    Segment,
}

/// What of a link is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkDesired {
    /// Its name.
    pub name: String,
    /// Its MAC, where that matters.
    pub mac: Option<Mac>,
    /// Its MTU, in bytes, where that matters.
    pub mtu: Option<u32>,
    /// Whose it is, for people.
    pub alias: String,
}

/// One step towards a Segment as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the netns.
    MakeNetns,
    /// Set a switch under `/proc/sys/net` of the Segment, where the kernel has it.
    Switch(&'static str, &'static str),
    /// Put the Segment's rules in.
    ApplyRules(String),
    /// Put a port's rules in again, as they are remembered.
    RestorePortRules(LinkName),
    /// Remove a link, if it is still there: a pair goes as one.
    RemoveLink(Place, String),
    /// Make the bridge, with its MAC.
    MakeBridge(Mac),
    /// Let the node forward IPv4.
    EnableForwarding,
    /// Put the node's rules in.
    ApplyNodeRules(String),
    /// Put our accepts into a chain that drops; those of ours that are there, by handle, go.
    AcceptForward(ForwardChain, Vec<u64>),
    /// Make the link out of the Segment, with the node's end's name, both ends down.
    MakeTransit(LinkName),
    /// Let the node speak no IPv6 on a NIC.
    SilenceNic(String),
    /// Set a NIC of the node up.
    RaiseNic(String),
    /// Make the Segment's uplink on that NIC, for a VLAN of it or for what has no tag.
    MakeUplink(String, Option<u16>),
    /// Set a link's MAC, MTU, alias, and set it up.
    SetLink(Place, LinkDesired),
    /// Give a link an address.
    AddAddress(Place, String, Ipv4Net),
    /// Take an address from a link.
    RemoveAddress(Place, String, Ipv4Net),
    /// Set the Segment's default route.
    DefaultRoute(Ipv4Addr),
    /// Put a tap, or the uplink, on the bridge and set it up.
    Enslave(LinkName),
    /// Start the DHCP server with a configuration, in place of the one that runs.
    Serve(String),
    /// End the DHCP server.
    StopServing,
}
