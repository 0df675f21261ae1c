//! Network: a tenant's own layer 2 segment with its subnets.

use super::SegmentType;
use crate::{Condition, schema};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tenant's network. What an address derives from is immutable; ranges, DNS and routes are not.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "kilonova.dev",
    version = "v1alpha1",
    kind = "Network",
    namespaced,
    status = "NetworkStatus",
    derive = "PartialEq",
    category = "kilonova",
    doc = "A network of the tenant's own: one segment with its subnets.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("a Network's name has at most 63 characters"),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.class"),
    printcolumn(name = "CIDR", type_ = "string", json_path = ".spec.subnets[*].cidr"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Segment", type_ = "integer", json_path = ".status.segment.id", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1)
)]
#[x_kube(validation = Rule::new("self.class == oldSelf.class").message("class is immutable: make another Network").field_path(".class"))]
#[x_kube(validation = Rule::new("has(self.routed) == has(oldSelf.routed) && (!has(self.routed) || self.routed == oldSelf.routed)").message("routed is immutable: make another Network").field_path(".routed"))]
#[x_kube(validation = Rule::new("has(self.dhcp) == has(oldSelf.dhcp) && (!has(self.dhcp) || self.dhcp == oldSelf.dhcp)").message("dhcp is immutable: make another Network").field_path(".dhcp"))]
#[x_kube(validation = Rule::new("self.subnets.size() == oldSelf.subnets.size() && self.subnets.all(s, oldSelf.subnets.exists(o, o.cidr == s.cidr && has(o.gateway) == has(s.gateway) && (!has(s.gateway) || s.gateway == o.gateway)))").message("a subnet's cidr and gateway are immutable: make another Network").field_path(".subnets"))]
pub struct NetworkSpec {
    /// Name of the NetworkClass that this network is of.
    #[schemars(length(min = 1, max = 63))]
    pub class: String,
    /// The subnets; one, of IPv4.
    #[schemars(length(min = 1, max = 1))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["cidr".to_string()]))]
    pub subnets: Vec<Subnet>,
    /// Whether every node with a port of this network is its gateway outwards (address translation
    /// included); true where absent. False: a plain segment; whatever router is in it leads out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routed: Option<bool>,
    /// Whether guests are told their addresses by DHCP; true where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<bool>,
}

impl NetworkSpec {
    /// Whether this network has a gateway outwards.
    #[must_use]
    pub fn routed(&self) -> bool {
        self.routed.unwrap_or(true)
    }
    /// Whether guests get their addresses by DHCP.
    #[must_use]
    pub fn dhcp(&self) -> bool {
        self.dhcp.unwrap_or(true)
    }
}

/// One range of addresses of a network.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!isCIDR(self.cidr) || !has(self.gateway) || !isIP(self.gateway) || cidr(self.cidr).containsIP(self.gateway)").message("gateway is not inside cidr").field_path(".gateway"))]
#[x_kube(validation = Rule::new("!has(self.gateway) || !self.cidr.startsWith(self.gateway + '/')").message("gateway is the subnet's own network address").field_path(".gateway"))]
#[x_kube(validation = Rule::new("!isCIDR(self.cidr) || !has(self.gateway) || !self.gateway.matches('^[0-9]{1,3}([.][0-9]{1,3}){3}$') || cidr(self.cidr).prefixLength() > 29 || [self.gateway.split('.').map(o, int(o))].all(o, (o[0] * 16777216 + o[1] * 65536 + o[2] * 256 + o[3] + 1) % [4294967296, 2147483648, 1073741824, 536870912, 268435456, 134217728, 67108864, 33554432, 16777216, 8388608, 4194304, 2097152, 1048576, 524288, 262144, 131072, 65536, 32768, 16384, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8][cidr(self.cidr).prefixLength()] != 0)").message("gateway is the subnet's broadcast address").field_path(".gateway"))]
#[x_kube(validation = Rule::new("!isCIDR(self.cidr) || !has(self.ranges) || self.ranges.all(r, r.split('-').all(a, !isIP(a) || cidr(self.cidr).containsIP(a)))").message("a range is not inside cidr").field_path(".ranges"))]
#[x_kube(validation = Rule::new("!isCIDR(self.cidr) || !has(self.routes) || self.routes.all(r, !isIP(r.nextHop) || cidr(self.cidr).containsIP(r.nextHop))").message("a route's nextHop is not inside cidr").field_path(".routes"))]
pub struct Subnet {
    /// The subnet, as its network address and prefix length: `10.0.0.0/24`, /8 to /29. Immutable.
    #[schemars(length(max = 18))]
    #[x_kube(validation = Rule::new("isCIDR(self) && cidr(self).ip().family() == 4").message("cidr is an IPv4 subnet such as 10.0.0.0/24"))]
    #[x_kube(validation = Rule::new("!isCIDR(self) || cidr(self) == cidr(self).masked()").message("cidr has bits set beyond its prefix: give the network's own address, such as 10.0.0.0/24"))]
    #[x_kube(validation = Rule::new("!isCIDR(self) || (cidr(self).prefixLength() >= 8 && cidr(self).prefixLength() <= 29)").message("cidr has a prefix length between 8 and 29"))]
    #[x_kube(validation = Rule::new("!isCIDR(self) || !['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3'].exists(c, cidr(c).containsCIDR(self))").message("cidr is loopback, link-local, multicast or reserved"))]
    pub cidr: String,
    /// The gateway's address; the first address of the subnet where absent. With `routed: false` it
    /// is a router's of somebody else, which guests are told of where it is named. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15))]
    #[x_kube(validation = Rule::new("isIP(self)").message("gateway is not an IP address"))]
    pub gateway: Option<String>,
    /// What is given to instances that name no address: `10.0.0.10-10.0.0.200`, both ends included;
    /// the whole subnet where absent. Network, broadcast and gateway are never given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(max = 31)))]
    #[x_kube(validation = Rule::new("self.all(r, r.split('-').size() == 2 && r.split('-').all(a, isIP(a) && ip(a).family() == 4))").message("a range is two addresses with a dash: 10.0.0.10-10.0.0.200"))]
    #[x_kube(validation = Rule::new("self.all(r, !r.matches('^[0-9]{1,3}([.][0-9]{1,3}){3}-[0-9]{1,3}([.][0-9]{1,3}){3}$') || [r.replace('-', '.').split('.').map(o, int(o))].all(o, o[0] * 16777216 + o[1] * 65536 + o[2] * 256 + o[3] <= o[4] * 16777216 + o[5] * 65536 + o[6] * 256 + o[7]))").message("a range ends before it begins"))]
    pub ranges: Option<Vec<String>>,
    /// DNS servers that guests are told of; the gateway of a routed network where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4), inner(length(max = 15)))]
    #[x_kube(validation = Rule::new("self.all(a, isIP(a) && ip(a).family() == 4)").message("dns has something that is not an IPv4 address"))]
    pub dns: Option<Vec<String>>,
    /// Routes beside the default one that guests are told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub routes: Option<Vec<Route>>,
}

/// A route that guests are told of.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Where it leads: `192.168.0.0/16`.
    #[schemars(length(max = 18))]
    #[x_kube(validation = Rule::new("isCIDR(self) && cidr(self).ip().family() == 4").message("destination is an IPv4 subnet such as 192.168.0.0/16"))]
    pub destination: String,
    /// The neighbour in this subnet that forwards it.
    #[schemars(length(max = 15))]
    #[x_kube(validation = Rule::new("isIP(self) && ip(self).family() == 4").message("nextHop is not an IPv4 address"))]
    pub next_hop: String,
}

/// What the controllers found and chose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStatus {
    /// The `metadata.generation` that this status is of; -1 before the first.
    #[serde(default)]
    pub observed_generation: i64,
    /// The segment that was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<SegmentStatus>,
    /// `Ready`: instances can be attached.
    #[serde(default)]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// A segment, as its network realises it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SegmentStatus {
    /// How it is realised.
    #[serde(rename = "type")]
    pub type_: SegmentType,
    /// The VLAN's id, for `vlan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// The physical network that it is in, for `flat` and `vlan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_network: Option<String>,
    /// Largest packet, in bytes.
    pub mtu: u32,
}
