//! Networks and their classes: what is wrong within one.

use serde_json::{Value, json};

use crate::{
    Case,
    api_common::{change, subnet},
    case, long_name, spec,
};

/// Classes of networks.
pub fn classes() -> Vec<Case> {
    let wrong = |change: Value, says| spec("NetworkClass", change, says);
    let uplink =
        "physicalNetwork belongs to the types flat and vlan, which need one; local has none";
    let ids = "ids belong to the type vlan, which needs some; flat and local have none";
    let id =
        "ids has something that is no VLAN id from 1 to 4094 and no range of them such as 100-199";
    let name = "physicalNetwork has lower-case letters, digits and dashes, not at its ends";
    let values = "In and NotIn need values; Exists and DoesNotExist take none";
    let selector = |operator: &str, values: Value| {
        let requirement = json!({"key": "tier", "operator": operator, "values": values});
        json!({"allowedNamespaces": {"matchExpressions": [requirement]}})
    };
    vec![
        case(
            "NetworkClass",
            long_name(),
            "a NetworkClass's name has at most 63 characters",
        ),
        wrong(
            json!({"type": "token-ring"}),
            "spec.type: Unsupported value: \"token-ring\"",
        ),
        wrong(
            json!({"mtu": 100}),
            "spec.mtu in body should be greater than or equal to 576",
        ),
        wrong(
            json!({"mtu": 9217}),
            "spec.mtu in body should be less than or equal to 9216",
        ),
        wrong(json!({"physicalNetwork": null}), uplink),
        wrong(
            json!({"type": "flat", "ids": null, "physicalNetwork": null}),
            uplink,
        ),
        wrong(json!({"type": "local", "ids": null}), uplink),
        wrong(json!({"physicalNetwork": "Physnet1"}), name),
        wrong(json!({"physicalNetwork": "physnet1="}), name),
        wrong(json!({"ids": null}), ids),
        wrong(json!({"type": "flat"}), ids),
        wrong(json!({"type": "local", "physicalNetwork": null}), ids),
        wrong(
            json!({"ids": []}),
            "spec.ids in body should have at least 1 items",
        ),
        wrong(json!({"ids": ["0"]}), id),
        wrong(json!({"ids": ["4095"]}), id),
        wrong(json!({"ids": ["100-4095"]}), id),
        wrong(json!({"ids": ["1-2-3"]}), id),
        wrong(json!({"ids": ["100", "all"]}), id),
        wrong(
            json!({"ids": ["199-100"]}),
            "a range of ids ends before it begins",
        ),
        wrong(selector("In", json!([])), values),
        wrong(selector("NotIn", json!([])), values),
        wrong(selector("Exists", json!(["gold"])), values),
    ]
}

/// A change of the spec.
fn wrong(change: Value, says: &'static str) -> Case {
    spec("Network", change, says)
}

/// A change within the subnet.
fn in_subnet(patch: Value, says: &'static str) -> Case {
    let mut changed = subnet();
    change(&mut changed, &patch);
    wrong(json!({"subnets": [changed]}), says)
}

/// Networks and their subnets.
pub fn networks() -> Vec<Case> {
    let (prefix, family) = (
        "cidr has a prefix length between 8 and 29",
        "cidr is an IPv4 subnet such as 10.0.0.0/24",
    );
    let host_bits =
        "cidr has bits set beyond its prefix: give the network's own address, such as 10.0.0.0/24";
    let reserved = "cidr is loopback, link-local, multicast or reserved";
    let range = "a range is two addresses with a dash: 10.0.0.10-10.0.0.200";
    let (backwards, outside) = (
        "a range ends before it begins",
        "a range is not inside cidr",
    );
    let destination = "destination is an IPv4 subnet such as 192.168.0.0/16";
    let bare = |cidr: &str| json!({"subnets": [{"cidr": cidr}]});
    let route = |destination: &str, hop: &str| json!({"routes": [{"destination": destination, "nextHop": hop}]});
    vec![
        case(
            "Network",
            long_name(),
            "a Network's name has at most 63 characters",
        ),
        wrong(
            json!({"class": ""}),
            "spec.class in body should be at least 1 chars long",
        ),
        wrong(
            json!({"subnets": []}),
            "spec.subnets in body should have at least 1 items",
        ),
        wrong(
            json!({"subnets": [{"cidr": "10.0.0.0/24"}, {"cidr": "10.1.0.0/24"}]}),
            "must have at most 1 item",
        ),
        wrong(bare("10.0.0.0"), family),
        wrong(bare("fd00:1::/64"), family),
        wrong(bare("10.0.0.5/24"), host_bits),
        wrong(bare("10.0.0.0/30"), prefix),
        wrong(bare("64.0.0.0/2"), prefix),
        wrong(bare("127.1.0.0/16"), reserved),
        wrong(bare("169.254.0.0/16"), reserved),
        wrong(bare("239.0.0.0/8"), reserved),
        wrong(bare("240.0.0.0/8"), reserved),
        wrong(bare("0.0.0.0/8"), reserved),
        in_subnet(json!({"gateway": "ten"}), "gateway is not an IP address"),
        in_subnet(json!({"gateway": "10.0.1.1"}), "gateway is not inside cidr"),
        in_subnet(json!({"gateway": "fd00::1"}), "gateway is not inside cidr"),
        in_subnet(
            json!({"gateway": "10.0.0.0"}),
            "gateway is the subnet's own network address",
        ),
        in_subnet(
            json!({"gateway": "10.0.0.255"}),
            "gateway is the subnet's broadcast address",
        ),
        in_subnet(
            json!({"cidr": "10.0.0.8/29", "gateway": "10.0.0.15", "ranges": null, "routes": null}),
            "gateway is the subnet's broadcast address",
        ),
        in_subnet(
            json!({"cidr": "10.0.0.0/8", "gateway": "10.255.255.255"}),
            "gateway is the subnet's broadcast address",
        ),
        in_subnet(json!({"ranges": ["10.0.0.10"]}), range),
        in_subnet(json!({"ranges": ["10.0.0.10-10.0.0.20-10.0.0.30"]}), range),
        in_subnet(json!({"ranges": ["a-b"]}), range),
        in_subnet(json!({"ranges": ["10.0.0.10-10.0.1.20"]}), outside),
        in_subnet(json!({"ranges": ["10.0.0.20-10.0.0.10"]}), backwards),
        in_subnet(
            json!({"cidr": "10.0.0.0/16", "ranges": ["10.0.1.0-10.0.0.255"]}),
            backwards,
        ),
        in_subnet(
            json!({"dns": ["resolver"]}),
            "dns has something that is not an IPv4 address",
        ),
        in_subnet(
            json!({"dns": ["fd00::53"]}),
            "dns has something that is not an IPv4 address",
        ),
        in_subnet(route("everywhere", "10.0.0.2"), destination),
        in_subnet(route("fd00::/64", "10.0.0.2"), destination),
        in_subnet(
            route("192.168.0.0/16", "gate"),
            "nextHop is not an IPv4 address",
        ),
        in_subnet(
            route("192.168.0.0/16", "10.0.1.2"),
            "a route's nextHop is not inside cidr",
        ),
    ]
}
