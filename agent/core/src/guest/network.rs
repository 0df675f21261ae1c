//! `openstack/*/network_data.json`.

use super::GuestError;
use ipnet::IpNet;
use kilonova_crds::node::{DomainPort, SegmentSpec, SegmentSubnet};
use kilonova_crds::v1alpha1::BoundAddress;
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::IpAddr;

#[derive(Serialize)]
pub(super) struct NetworkData {
    links: Vec<Link>,
    networks: Vec<Network>,
    services: Vec<Service>,
}

#[derive(Serialize)]
struct Link {
    id: String,
    vif_id: String,
    #[serde(rename = "type")]
    type_: &'static str,
    mtu: u32,
    ethernet_mac_address: String,
}

#[derive(Serialize)]
#[allow(clippy::struct_field_names, reason = "the names of the format")]
struct Network {
    id: String,
    #[serde(rename = "type")]
    type_: &'static str,
    link: String,
    network_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netmask: Option<IpAddr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<Service>,
}

#[derive(Serialize)]
struct Route {
    network: IpAddr,
    netmask: IpAddr,
    gateway: String,
}

#[derive(Clone, Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct Service {
    #[serde(rename = "type")]
    type_: &'static str,
    address: String,
}

pub(super) fn network(
    ports: &[DomainPort],
    segments: &[SegmentSpec],
) -> Result<NetworkData, GuestError> {
    let mut data = NetworkData {
        links: Vec::new(),
        networks: Vec::new(),
        services: Vec::new(),
    };
    let mut services = BTreeSet::new();
    for port in ports {
        let found = segments.iter().find(|s| s.network.uid == port.segment);
        let segment = found.ok_or_else(|| GuestError::Segment {
            port: port.name.clone(),
            segment: port.segment.clone(),
        })?;
        data.links.push(link(port, segment));
        for bound in &port.ips {
            let address = address(port, bound)?;
            let subnet = subnet(segment, address);
            services.extend(subnet.into_iter().flat_map(dns));
            data.networks.push(if segment.dhcp {
                by_dhcp(port, address)
            } else {
                fixed(port, address, bound, segment, subnet)?
            });
        }
    }
    data.services.extend(services);
    Ok(data)
}

fn link(port: &DomainPort, segment: &SegmentSpec) -> Link {
    Link {
        id: port.name.clone(),
        vif_id: format!("{}-{}", port.segment, port.mac),
        // Of the types that every reader knows; "tap" and "bridge" make some warn.
        type_: "phy",
        mtu: segment.mtu,
        ethernet_mac_address: port.mac.clone(),
    }
}

fn by_dhcp(port: &DomainPort, address: IpNet) -> Network {
    Network {
        id: network_id(port, address),
        type_: if address.addr().is_ipv4() {
            "ipv4_dhcp"
        } else {
            "ipv6_dhcp"
        },
        link: port.name.clone(),
        network_id: port.segment.clone(),
        ip_address: None,
        netmask: None,
        routes: Vec::new(),
        services: Vec::new(),
    }
}

fn fixed(
    port: &DomainPort,
    address: IpNet,
    bound: &BoundAddress,
    segment: &SegmentSpec,
    subnet: Option<&SegmentSubnet>,
) -> Result<Network, GuestError> {
    let mut routes = Vec::new();
    if let Some(gateway) = &bound.gateway {
        routes.push(default_route(address, gateway));
    }
    for route in subnet.into_iter().flat_map(|subnet| &subnet.routes) {
        let to: IpNet = route
            .destination
            .parse()
            .map_err(|source| GuestError::Route {
                segment: segment.network.uid.clone(),
                destination: route.destination.clone(),
                source,
            })?;
        routes.push(Route {
            network: to.network(),
            netmask: to.netmask(),
            gateway: route.next_hop.clone(),
        });
    }
    Ok(Network {
        id: network_id(port, address),
        type_: if address.addr().is_ipv4() {
            "ipv4"
        } else {
            "ipv6"
        },
        link: port.name.clone(),
        network_id: port.segment.clone(),
        ip_address: Some(address.addr()),
        netmask: Some(address.netmask()),
        routes,
        services: subnet.into_iter().flat_map(dns).collect(),
    })
}

fn default_route(address: IpNet, gateway: &str) -> Route {
    let nowhere: IpAddr = match address {
        IpNet::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpNet::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    Route {
        network: nowhere,
        netmask: nowhere,
        gateway: gateway.to_owned(),
    }
}

/// The subnet of a segment that an address is in.
fn subnet(segment: &SegmentSpec, address: IpNet) -> Option<&SegmentSubnet> {
    segment.subnets.iter().find(|subnet| {
        let net = subnet.cidr.parse::<IpNet>();
        net.is_ok_and(|net| net.contains(&address.addr()))
    })
}

fn dns(subnet: &SegmentSubnet) -> impl Iterator<Item = Service> {
    subnet.dns.iter().map(|address| Service {
        type_: "dns",
        address: address.clone(),
    })
}

fn address(port: &DomainPort, bound: &BoundAddress) -> Result<IpNet, GuestError> {
    let error = || GuestError::Address {
        port: port.name.clone(),
        address: format!("{}/{}", bound.ip, bound.prefix_length),
    };
    let ip = bound.ip.parse().map_err(|_| error())?;
    IpNet::new(ip, bound.prefix_length).map_err(|_| error())
}

fn network_id(port: &DomainPort, address: IpNet) -> String {
    let family = if address.addr().is_ipv4() { "4" } else { "6" };
    format!("{}-ipv{family}", port.name)
}
