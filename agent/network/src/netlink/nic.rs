//! NICs in physical networks, as the kernel has them.

use super::{Netlink, NetlinkError, request};
use futures::TryStreamExt;
use ipnet::IpNet;
use kilonova_agent_core::network::{LinkObserved, NicObserved, is_everywhere};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::RouteMessageBuilder;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kernel's own table (`RT_TABLE_LOCAL` in `linux/rtnetlink.h`).
const LOCAL: u8 = 255;

/// Those of these links that are there.
pub(super) async fn observe(
    netlink: &Netlink,
    names: &[&str],
) -> Result<Vec<NicObserved>, NetlinkError> {
    let links = netlink.links().await?;
    if !names.iter().any(|name| links.contains_key(*name)) {
        return Ok(Vec::new());
    }
    let addresses = netlink.addresses().await?;
    let mut routes = netlink
        .routes(RouteMessageBuilder::<Ipv4Addr>::new().build())
        .await?;
    routes.extend(
        netlink
            .routes(RouteMessageBuilder::<Ipv6Addr>::new().build())
            .await?,
    );
    let nic = |name: &&str| {
        let link = links.get(*name)?;
        let of_link = addresses.iter().filter(|a| a.header.index == link.index);
        let over_link = routes.iter().filter(|route| leads_over(route, link.index));
        Some(NicObserved {
            name: (*name).to_owned(),
            index: link.index,
            mtu: link.mtu,
            up: link.up,
            is_ethernet: link.mac.is_some(),
            master: link.master.map(|index| name_of(&links, index)),
            addresses: own(of_link.filter_map(address)),
            routes: own(over_link.filter_map(destination)),
        })
    };
    Ok(names.iter().filter_map(nic).collect())
}

fn own(nets: impl Iterator<Item = IpNet>) -> Vec<IpNet> {
    let mut own: Vec<_> = nets.filter(|net| !is_everywhere(net)).collect();
    own.sort_unstable();
    own
}

fn name_of(links: &BTreeMap<String, LinkObserved>, index: u32) -> String {
    let mut named = links.iter().filter(|(_, link)| link.index == index);
    named
        .next()
        .map_or_else(|| format!("link {index}"), |(name, _)| name.clone())
}

fn address(message: &AddressMessage) -> Option<IpNet> {
    // Of IPv6 there is only the one, of IPv4 the local one is its own and the other may be a peer's.
    let local = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let only = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    });
    IpNet::new(local.or(only)?, message.header.prefix_len).ok()
}

/// Whether a route leads over that link; those of the kernel's own table say only what the
/// addresses say.
fn leads_over(route: &RouteMessage, index: u32) -> bool {
    let over = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Oif(oif) => *oif == index,
        RouteAttribute::MultiPath(hops) => hops.iter().any(|hop| hop.interface_index == index),
        _ => false,
    };
    route.header.table != LOCAL && route.attributes.iter().any(over)
}

fn destination(route: &RouteMessage) -> Option<IpNet> {
    let named = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
            RouteAttribute::Destination(RouteAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
            _ => None,
        });
    // The default route names none.
    let everywhere = match route.header.address_family {
        netlink_packet_route::AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let length = route.header.destination_prefix_length;
    IpNet::new(named.unwrap_or(everywhere), length).ok()
}

impl Netlink {
    /// Every route of a family.
    pub(super) async fn routes(
        &self,
        filter: RouteMessage,
    ) -> Result<Vec<RouteMessage>, NetlinkError> {
        let stream = self.handle.route().get(filter).execute();
        stream
            .try_collect()
            .await
            .map_err(request("listing routes"))
    }
}
