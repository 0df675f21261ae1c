//! What a node's network is, as the agent's driver reads it from the kernel.

use super::rules::ForwardChain;
use super::{LinkName, Mac, Netns, NetworkRef, NicFault, NicObserved};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Every Segment on the node, and what of ours lies beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeNetwork {
    /// The Segments, by netns.
    pub segments: BTreeMap<Netns, SegmentObserved>,
    /// Taps in the node's own netns: not plugged yet, or left by a start that was given up.
    pub loose_taps: BTreeSet<LinkName>,
}

/// The node's own netns, where Segments lead out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSide {
    /// Its links, by name.
    pub links: BTreeMap<String, LinkObserved>,
    /// Whether it forwards IPv4.
    pub ip_forward: bool,
    /// Whether our rules are as they were put in.
    pub rules: RulesState,
    /// The chains of others that drop what is forwarded, each with the handles of our rules in it.
    pub dropping: Vec<(ForwardChain, Vec<u64>)>,
    /// The NIC in the Segment's physical network; absent where the Segment is in none.
    pub nic: Option<Result<NicObserved, NicFault>>,
}

/// One Segment as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentObserved {
    /// The Network that it is of; unknown when its making was cut off at the very start.
    pub network: Option<NetworkRef>,
    /// Every link in the netns but the ports, by name.
    pub links: BTreeMap<String, LinkObserved>,
    /// The ports, by tap.
    pub ports: BTreeMap<LinkName, PortObserved>,
    /// Whether the netns's own rules are as they were put in.
    pub rules: RulesState,
    /// The DHCP server; absent when none runs.
    pub dhcp: Option<DhcpObserved>,
    /// The switches under `/proc/sys/net` that a Segment needs, those that the kernel has.
    pub switches: BTreeMap<String, String>,
    /// The next hop of the default route.
    pub default_route: Option<Ipv4Addr>,
}

/// What kind of link it is, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A bridge.
    Bridge,
    /// One end of a pair.
    Veth,
    /// A tap or tun.
    Tun,
    /// The frames of one VLAN of another link.
    Vlan(u16),
    /// What another link does not keep for itself.
    Macvlan,
    /// Any other.
    Other,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkObserved {
    /// Its index in its netns.
    pub index: u32,
    /// Its kind.
    pub kind: LinkKind,
    /// Its MAC, where it has one.
    pub mac: Option<Mac>,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// Whether it is set up.
    pub up: bool,
    /// The index of its bridge.
    pub master: Option<u32>,
    /// The index of the link that it is made on, in that one's netns.
    pub lower: Option<u32>,
    /// What its alias says.
    pub alias: String,
    /// Its IPv4 addresses, with their prefix lengths.
    pub addresses: BTreeSet<Ipv4Net>,
}

/// One port: a tap in the netns, or what is left of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortObserved {
    /// Its tap, when it is in the netns.
    pub link: Option<LinkObserved>,
    /// Whether its rules are as they were put in.
    pub rules: RulesState,
    /// Whether it is remembered what its rules are.
    pub recorded: bool,
    /// Its line for the DHCP server.
    pub dhcp_host: Option<String>,
}

/// Whether rules in the kernel are as they were put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RulesState {
    /// There are none.
    #[default]
    Absent,
    /// There are some, and not those that were put in: someone changed them.
    Changed,
    /// They are those that this digest of their text stands for.
    Applied(String),
}

/// The DHCP server of a Segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpObserved {
    /// The configuration that it was started with.
    pub configuration: String,
    /// The index of the bridge that it was started on.
    pub bridge: u32,
}

impl SegmentObserved {
    /// The taps that are plugged: in the netns, on its bridge, up.
    pub fn plugged(&self) -> impl Iterator<Item = &LinkName> {
        let bridge = self.links.get(super::BRIDGE).map(|bridge| bridge.index);
        self.ports.iter().filter_map(move |(tap, port)| {
            let link = port.link.as_ref()?;
            (bridge.is_some() && link.master == bridge && link.up).then_some(tap)
        })
    }
}
