//! What a Segment and a port should be: the objects' texts, parsed.

use super::{Hostname, InvalidMac, InvalidName, InvalidNic, LinkName, Mac, Netns, PhysicalNetwork};
use ipnet::Ipv4Net;
use kilonova_crds::node::{DomainSpec, SegmentNetwork, SegmentSpec, SegmentSubnet};
use kilonova_crds::v1alpha1::SegmentType;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Smallest MTU that IPv4 can live with (RFC 791) and that a class may name.
const MTU_MIN: u32 = 576;
/// Longest namespace, name or uid: three of them fit a link's alias (255 bytes).
const NAME_MAX: usize = 63;
/// Largest MTU that a class may name.
const MTU_MAX: u32 = 9216;

/// The Network that a Segment is of: for people who look at the node's links.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What the alias of a Segment's links begins with.
const ALIAS: &str = "kilonova network ";

impl NetworkRef {
    /// What the links of its Segment bear as their alias.
    #[must_use]
    pub fn alias(&self) -> String {
        format!("{ALIAS}{}/{} {}", self.namespace, self.name, self.uid)
    }

    /// Reads an alias back.
    #[must_use]
    pub fn from_alias(alias: &str) -> Option<Self> {
        let (place, uid) = alias.strip_prefix(ALIAS)?.split_once(' ')?;
        let (namespace, name) = place.split_once('/')?;
        Some(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
        })
    }

    /// Parses the Network of a Segment.
    fn from_spec(spec: &SegmentNetwork) -> Result<Self, InvalidSegment> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        for text in [&spec.namespace, &spec.name, &spec.uid] {
            if text.is_empty() || text.len() > NAME_MAX || !text.bytes().all(plain) {
                return Err(InvalidSegment::Network(text.chars().take(80).collect()));
            }
        }
        Ok(Self {
            namespace: spec.namespace.clone(),
            name: spec.name.clone(),
            uid: spec.uid.clone(),
        })
    }
}

/// Largest id of a VLAN (IEEE 802.1Q).
const VLAN_MAX: u32 = 4094;

/// What joins a Segment to the same Network on other nodes: a part of a physical network's frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// The physical network.
    pub physical_network: PhysicalNetwork,
    /// The VLAN whose frames they are; none: those without a tag.
    pub vlan: Option<u16>,
}

/// A route that guests are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteDesired {
    /// Where it leads.
    pub destination: Ipv4Net,
    /// The neighbour that forwards it.
    pub next_hop: Ipv4Addr,
}

/// One subnet of a Segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetDesired {
    /// Network address and prefix length.
    pub cidr: Ipv4Net,
    /// The router that guests are told of, inside it: this node, where the Segment is routed.
    pub gateway: Option<Ipv4Addr>,
    /// DNS servers that guests are told of.
    pub dns: Vec<Ipv4Addr>,
    /// Routes beside the default one that guests are told of.
    pub routes: Vec<RouteDesired>,
}

impl SubnetDesired {
    /// The gateway's address with the subnet's prefix length, as it stands on the bridge of a
    /// routed Segment.
    #[must_use]
    pub fn gateway_net(&self) -> Option<Ipv4Net> {
        Ipv4Net::new(self.gateway?, self.cidr.prefix_len()).ok()
    }
}

/// Where DHCP is served from where the subnet may have others at any address: link-local (RFC 3927),
/// so that no guest and no router can have it, and known to guests as a cloud's own.
const SERVER: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 169, 254), 32);

/// One Segment as this node should have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentDesired {
    /// The Network that it is of.
    pub network: NetworkRef,
    /// Its netns, derived from the Network's uid.
    pub netns: Netns,
    /// What joins it to other nodes; none: its neighbours are on this node only (`local`).
    pub uplink: Option<Uplink>,
    /// Largest packet, in bytes, 576 to 9216.
    pub mtu: u32,
    /// Whether the node is its gateway outwards.
    pub routed: bool,
    /// Whether guests get their addresses by DHCP.
    pub dhcp: bool,
    /// The gateway's MAC, the same on every node.
    pub gateway_mac: Mac,
    /// Its subnets, in the object's order.
    pub subnets: Vec<SubnetDesired>,
}

/// Why a Segment cannot be realised as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSegment {
    /// Its Network's namespace, name or uid is none.
    #[error("{0:?} names no Network")]
    Network(String),
    /// Its gateway's MAC is none.
    #[error("gatewayMac")]
    GatewayMac(#[source] InvalidMac),
    /// Its MTU is out of range.
    #[error("mtu {0} is not between {MTU_MIN} and {MTU_MAX}")]
    Mtu(u32),
    /// A subnet or a route's destination is no IPv4 subnet.
    #[error("{0:?} is no IPv4 subnet")]
    Cidr(String),
    /// An address is no IPv4 address.
    #[error("{0:?} is no IPv4 address")]
    Address(String),
    /// Its physical network is none.
    #[error("physicalNetwork")]
    PhysicalNetwork(#[source] InvalidNic),
    /// It is in no physical network, and its type needs one.
    #[error("a segment of this type is in a physical network, and none is named")]
    NoPhysicalNetwork,
    /// It names no VLAN, and its type needs one.
    #[error("a segment of this type is a VLAN, and no VLAN id is named")]
    NoVlan,
    /// Its VLAN is none.
    #[error("{0} is no VLAN id from 1 to {VLAN_MAX}")]
    Vlan(u32),
    /// It is routed, and a subnet has no gateway.
    #[error("the subnet {0} has no gateway")]
    NoGateway(Ipv4Net),
    /// A gateway is outside its subnet.
    #[error("the gateway {0} is not in {1}")]
    Gateway(Ipv4Addr, Ipv4Net),
}

/// One port as this node should have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortDesired {
    /// Its tap, derived from the Instance's uid and the interface's place.
    pub tap: LinkName,
    /// The netns of the Segment that it is plugged into.
    pub segment: Netns,
    /// The guest's MAC.
    pub mac: Mac,
    /// The guest's addresses, the primary one first.
    pub ips: Vec<Ipv4Addr>,
    /// The guest's host name, as DHCP tells it.
    pub hostname: Hostname,
    /// Largest packet, in bytes: the Segment's.
    pub mtu: u32,
    /// Whose it is, for people who look at the node's links: `namespace/name uid interface`.
    pub owner: String,
}

/// Why a port cannot be realised as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPort {
    /// The Domain has no such port.
    #[error("the Domain has no port {0}")]
    NoSuchPort(usize),
    /// The port is of another Segment.
    #[error("the port is of Segment {port}, not of {segment}")]
    OtherSegment {
        /// The uid that the port names.
        port: String,
        /// The uid of the Segment that was given.
        segment: String,
    },
    /// Its MAC is none.
    #[error("mac")]
    Mac(#[source] InvalidMac),
    /// One of its addresses is no IPv4 address.
    #[error("{0:?} is no IPv4 address")]
    Address(String),
    /// The guest's host name is none.
    #[error("hostname")]
    Hostname(#[source] InvalidName),
}

impl SegmentDesired {
    /// Parses a Segment.
    ///
    /// # Errors
    /// When one of its fields is not what it should be: only another spec helps.
    pub fn from_spec(spec: &SegmentSpec) -> Result<Self, InvalidSegment> {
        if !(MTU_MIN..=MTU_MAX).contains(&spec.mtu) {
            return Err(InvalidSegment::Mtu(spec.mtu));
        }
        let subnets: Vec<_> = spec.subnets.iter().map(subnet).collect::<Result<_, _>>()?;
        if let Some(bare) = subnets.iter().find(|s| spec.routed && s.gateway.is_none()) {
            return Err(InvalidSegment::NoGateway(bare.cidr));
        }
        Ok(Self {
            network: NetworkRef::from_spec(&spec.network)?,
            netns: Netns::of_network(&spec.network.uid),
            uplink: uplink(spec)?,
            mtu: spec.mtu,
            routed: spec.routed,
            dhcp: spec.dhcp,
            gateway_mac: spec
                .gateway_mac
                .parse()
                .map_err(InvalidSegment::GatewayMac)?,
            subnets,
        })
    }

    /// What stands on the bridge: the gateways, or what DHCP is served from. That is, where nobody
    /// but our own ports is in the Segment and none of them is named a router, each subnet's first
    /// address, which no port is given.
    #[must_use]
    pub fn own_addresses(&self) -> BTreeSet<Ipv4Net> {
        let subnets = self.subnets.iter();
        if self.routed {
            return subnets.filter_map(SubnetDesired::gateway_net).collect();
        }
        if !self.dhcp {
            return BTreeSet::new();
        }
        if self.serves_from_outside() {
            return BTreeSet::from([SERVER]);
        }
        let first = |subnet: &SubnetDesired| {
            let address = subnet.cidr.hosts().next()?;
            Ipv4Net::new(address, subnet.cidr.prefix_len()).ok()
        };
        subnets.filter_map(first).collect()
    }

    /// Whether DHCP is served from an address that is in none of the subnets.
    #[must_use]
    pub fn serves_from_outside(&self) -> bool {
        let has_router = self.subnets.iter().any(|subnet| subnet.gateway.is_some());
        !self.routed && (self.uplink.is_some() || has_router)
    }
}

fn uplink(spec: &SegmentSpec) -> Result<Option<Uplink>, InvalidSegment> {
    let vlan = match spec.type_ {
        SegmentType::Local => return Ok(None),
        SegmentType::Flat => None,
        SegmentType::Vlan => {
            let named = spec.id.ok_or(InvalidSegment::NoVlan)?;
            let id = u16::try_from(named).ok();
            let id = id.filter(|_| (1..=VLAN_MAX).contains(&named));
            Some(id.ok_or(InvalidSegment::Vlan(named))?)
        }
    };
    let name = spec.physical_network.as_ref();
    let name = name.ok_or(InvalidSegment::NoPhysicalNetwork)?;
    let physical_network = PhysicalNetwork::new(name).map_err(InvalidSegment::PhysicalNetwork)?;
    Ok(Some(Uplink {
        physical_network,
        vlan,
    }))
}

fn cidr(text: &str) -> Result<Ipv4Net, InvalidSegment> {
    text.parse::<Ipv4Net>()
        .map(|net| net.trunc())
        .map_err(|_| InvalidSegment::Cidr(text.to_owned()))
}

fn address(text: &str) -> Result<Ipv4Addr, InvalidSegment> {
    text.parse()
        .map_err(|_| InvalidSegment::Address(text.to_owned()))
}

fn subnet(spec: &SegmentSubnet) -> Result<SubnetDesired, InvalidSegment> {
    let net = cidr(&spec.cidr)?;
    let gateway = spec.gateway.as_ref().map(|g| address(g)).transpose()?;
    if let Some(outside) = gateway.filter(|gateway| !net.contains(gateway)) {
        return Err(InvalidSegment::Gateway(outside, net));
    }
    let routes = spec.routes.iter().map(|route| {
        Ok(RouteDesired {
            destination: cidr(&route.destination)?,
            next_hop: address(&route.next_hop)?,
        })
    });
    Ok(SubnetDesired {
        cidr: net,
        gateway,
        dns: spec
            .dns
            .iter()
            .map(|a| address(a))
            .collect::<Result<_, _>>()?,
        routes: routes.collect::<Result<_, _>>()?,
    })
}

impl PortDesired {
    /// Parses one port of a Domain, by its place, for the Segment that it names.
    ///
    /// # Errors
    /// When one of its fields is not what it should be, or it is another Segment's.
    pub fn from_domain(
        domain: &DomainSpec,
        index: usize,
        segment: &SegmentDesired,
    ) -> Result<Self, InvalidPort> {
        let port = domain
            .ports
            .get(index)
            .ok_or(InvalidPort::NoSuchPort(index))?;
        if port.segment != segment.network.uid {
            return Err(InvalidPort::OtherSegment {
                port: port.segment.clone(),
                segment: segment.network.uid.clone(),
            });
        }
        let ip = |text: &String| text.parse().map_err(|_| InvalidPort::Address(text.clone()));
        let of = &domain.instance;
        Ok(Self {
            tap: LinkName::tap(&domain.uuid, index),
            segment: segment.netns.clone(),
            mac: port.mac.parse().map_err(InvalidPort::Mac)?,
            ips: port
                .ips
                .iter()
                .map(|bound| ip(&bound.ip))
                .collect::<Result<_, _>>()?,
            hostname: Hostname::new(&domain.guest.hostname).map_err(InvalidPort::Hostname)?,
            mtu: segment.mtu,
            owner: format!("{}/{} {} {}", of.namespace, of.name, of.uid, port.name),
        })
    }
}
