//! Links, addresses and routes of one netns.

mod nic;
mod trial;

use crate::netns::{self, NetnsError};
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use kilonova_agent_core::network::plan::LinkDesired;
use kilonova_agent_core::network::{
    BRIDGE, LinkKind, LinkObserved, Mac, Netns, NicObserved, OUTWARD, UPLINK,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    BridgeStpState, InfoData, InfoKind, InfoVeth, InfoVlan, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage, MacVlanMode,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use nix::errno::Errno;
use rtnetlink::{
    Handle, LinkBridge, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVlan,
    RouteMessageBuilder,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

/// Longest alias of a link, in bytes: the kernel's `IFALIASZ` is 256, with the closing zero.
const ALIAS_MAX: usize = 255;

/// Why the kernel did not do what it was asked about links.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("opening a netlink socket")]
    Open(#[source] io::Error),
    /// A request was refused.
    #[error("{what}")]
    Request {
        /// What was asked.
        what: String,
        /// What the kernel said.
        source: rtnetlink::Error,
    },
    /// A link that should be there is not.
    #[error("there is no link {0}")]
    NoLink(String),
    /// The netns could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
}

impl NetlinkError {
    /// Whether another link has what was asked for: the VLAN (`EEXIST`), or the frames without a tag
    /// (`EINVAL` of one made to pass all through, `EBUSY` of a bridge's or a bond's port).
    #[must_use]
    pub fn is_taken(&self) -> bool {
        let taken = [Errno::EEXIST, Errno::EINVAL, Errno::EBUSY];
        match self {
            Self::Request { source, .. } => taken.iter().any(|errno| is(source, *errno)),
            _ => false,
        }
    }
}

/// A socket in one netns. As long as it lives, that namespace does: never to be kept.
pub struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Opens a socket in a netns, or in this process's own.
    pub async fn open(netns: Option<&Netns>) -> Result<Self, NetlinkError> {
        let opened = netns::within(netns, rtnetlink::new_connection).await?;
        let (connection, handle, _) = opened.map_err(NetlinkError::Open)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Every link with its IPv4 addresses, by name.
    pub async fn links(&self) -> Result<BTreeMap<String, LinkObserved>, NetlinkError> {
        let asked = request("listing links");
        let messages: Vec<_> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(asked)?;
        let mut links: BTreeMap<_, _> = messages.iter().filter_map(read_link).collect();
        for message in self.addresses().await? {
            if let Some(address) = read_address(&message) {
                let index = message.header.index;
                for link in links.values_mut().filter(|link| link.index == index) {
                    link.addresses.insert(address);
                }
            }
        }
        Ok(links)
    }

    /// Those of these links that are there, with all that tells whether the node lives by them.
    pub async fn nics(&self, names: &[&str]) -> Result<Vec<NicObserved>, NetlinkError> {
        nic::observe(self, names).await
    }

    async fn addresses(&self) -> Result<Vec<AddressMessage>, NetlinkError> {
        let stream = self.handle.address().get().execute();
        stream
            .try_collect()
            .await
            .map_err(request("listing addresses"))
    }

    /// The index of a link, when it is there.
    pub async fn index(&self, name: &str) -> Result<Option<u32>, NetlinkError> {
        let mut found = Box::pin(self.handle.link().get().match_name(name).execute());
        match found.try_next().await {
            Ok(link) => Ok(link.map(|link| link.header.index)),
            Err(error) if is(&error, Errno::ENODEV) => Ok(None),
            Err(source) => Err(request(format!("looking for link {name}"))(source)),
        }
    }

    /// The index of a link that has to be there.
    pub async fn need(&self, name: &str) -> Result<u32, NetlinkError> {
        let index = self.index(name).await?;
        index.ok_or_else(|| NetlinkError::NoLink(name.to_owned()))
    }

    /// The next hop of the default route of IPv4.
    pub async fn default_route(&self) -> Result<Option<Ipv4Addr>, NetlinkError> {
        let filter = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let routes = self.routes(filter).await?;
        Ok(routes.iter().find_map(read_default))
    }

    /// Makes the bridge of a Segment: it learns from no one but who passed the rules, keeps its MAC
    /// whoever is plugged, and forwards at once.
    pub async fn make_bridge(&self, mac: Mac) -> Result<(), NetlinkError> {
        let bridge = LinkMessageBuilder::<LinkBridge>::new(BRIDGE)
            .address(mac.octets().to_vec())
            .stp_state(BridgeStpState::Disabled)
            .forward_delay(0)
            .mcast_snooping(false)
            .no_linklocal_learn(true)
            .build();
        self.change_or_add(bridge, true, "making the bridge").await
    }

    /// Makes a pair of links, this end here, the other, [`OUTWARD`], in a Segment's netns.
    pub async fn make_transit(&self, name: &str, netns: &Netns) -> Result<(), NetlinkError> {
        let namespace = netns::open(netns)?;
        let peer = LinkUnspec::new_with_name(OUTWARD)
            .setns_by_fd(namespace.as_raw_fd())
            .build();
        let pair = LinkMessageBuilder::<LinkVeth>::new(name, OUTWARD)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        self.change_or_add(pair, true, &format!("making link {name}"))
            .await
    }

    /// Makes a Segment's uplink in its netns, on a NIC of this one: the frames of a VLAN, or those
    /// that nothing else on the NIC takes. Made there at once: nothing of it is ever in this netns.
    pub async fn make_uplink(
        &self,
        nic: &str,
        vlan: Option<u16>,
        netns: &Netns,
    ) -> Result<(), NetlinkError> {
        let index = self.need(nic).await?;
        let namespace = netns::open(netns)?;
        let place = namespace.as_raw_fd();
        let link = match vlan {
            Some(id) => LinkVlan::new(UPLINK, index, id).setns_by_fd(place).build(),
            None => LinkMacVlan::new(UPLINK, index, MacVlanMode::Passthrough)
                .setns_by_fd(place)
                .build(),
        };
        let what = match vlan {
            Some(id) => format!("making a link for VLAN {id} of NIC {nic}"),
            None => format!("making a link for the untagged frames of NIC {nic}"),
        };
        self.change_or_add(link, true, &what).await
    }

    /// Sets a link up, and changes nothing else of it.
    pub async fn raise(&self, name: &str) -> Result<(), NetlinkError> {
        let index = self.need(name).await?;
        let message = LinkUnspec::new_with_index(index).up().build();
        let what = format!("setting link {name} up");
        self.change_or_add(message, false, &what).await
    }

    /// Sets a link's MAC, MTU and alias, and sets it up.
    pub async fn set(&self, link: &LinkDesired) -> Result<(), NetlinkError> {
        self.apply(link, LinkMessageBuilder::up).await
    }

    /// Sets a link's MAC, MTU and alias, and leaves it down.
    pub async fn label(&self, link: &LinkDesired) -> Result<(), NetlinkError> {
        self.apply(link, |message| message).await
    }

    async fn apply(
        &self,
        link: &LinkDesired,
        state: fn(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), NetlinkError> {
        let index = self.need(&link.name).await?;
        let mut message = state(LinkUnspec::new_with_index(index).alias(alias(&link.alias)));
        if let Some(mac) = link.mac {
            message = message.address(mac.octets().to_vec());
        }
        if let Some(mtu) = link.mtu {
            message = message.mtu(mtu);
        }
        let what = format!("setting link {}", link.name);
        self.change_or_add(message.build(), false, &what).await
    }

    /// Puts a link on the Segment's bridge and sets it up.
    pub async fn enslave(&self, name: &str) -> Result<(), NetlinkError> {
        let bridge = self.need(BRIDGE).await?;
        let index = self.need(name).await?;
        let message = LinkUnspec::new_with_index(index).controller(bridge).up();
        let what = format!("plugging link {name}");
        self.change_or_add(message.build(), false, &what).await
    }

    /// Moves a link into a netns.
    pub async fn hand_over(&self, name: &str, netns: &Netns) -> Result<(), NetlinkError> {
        let index = self.need(name).await?;
        let namespace = netns::open(netns)?;
        let message = LinkUnspec::new_with_index(index).setns_by_fd(namespace.as_raw_fd());
        let what = format!("moving link {name} into {netns}");
        self.change_or_add(message.build(), false, &what).await
    }

    /// Removes a link; no error where it is not there.
    pub async fn remove(&self, name: &str) -> Result<(), NetlinkError> {
        let Some(index) = self.index(name).await? else {
            return Ok(());
        };
        match self.handle.link().del(index).execute().await {
            Err(error) if !is(&error, Errno::ENODEV) => {
                Err(request(format!("removing link {name}"))(error))
            }
            _ => Ok(()),
        }
    }

    /// Gives a link an address.
    pub async fn add_address(&self, name: &str, address: Ipv4Net) -> Result<(), NetlinkError> {
        let index = self.need(name).await?;
        let added = self
            .handle
            .address()
            .add(index, IpAddr::V4(address.addr()), address.prefix_len())
            .replace()
            .execute();
        added
            .await
            .map_err(request(format!("adding {address} to {name}")))
    }

    /// Takes an address from a link; no error where it has none.
    pub async fn remove_address(&self, name: &str, address: Ipv4Net) -> Result<(), NetlinkError> {
        let index = self.need(name).await?;
        let of = |message: &AddressMessage| {
            message.header.index == index && read_address(message) == Some(address)
        };
        for message in self.addresses().await?.into_iter().filter(of) {
            let what = format!("removing {address} from {name}");
            let removed = self.handle.address().del(message).execute();
            removed.await.map_err(request(what))?;
        }
        Ok(())
    }

    /// Sets the default route, over [`OUTWARD`].
    pub async fn set_default_route(&self, via: Ipv4Addr) -> Result<(), NetlinkError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(via)
            .output_interface(self.need(OUTWARD).await?)
            .build();
        let set = self.handle.route().add(route).replace().execute();
        set.await.map_err(request("setting the default route"))
    }

    async fn change_or_add(
        &self,
        message: LinkMessage,
        add: bool,
        what: &str,
    ) -> Result<(), NetlinkError> {
        let links = self.handle.link();
        let done = if add {
            links.add(message).execute().await
        } else {
            links.change(message).execute().await
        };
        done.map_err(request(what))
    }
}

/// A refused request, by what was asked.
fn request(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> NetlinkError {
    let what = what.into();
    move |source| NetlinkError::Request { what, source }
}

/// Whether the kernel refused for this reason.
fn is(error: &rtnetlink::Error, errno: Errno) -> bool {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.raw_code() == -(errno as i32),
        _ => false,
    }
}

/// What of an alias the kernel keeps.
fn alias(text: &str) -> String {
    let plain = text.chars().map(|c| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '?'
        }
    });
    plain.take(ALIAS_MAX).collect()
}

fn read_link(message: &LinkMessage) -> Option<(String, LinkObserved)> {
    let mut name = None;
    let mut link = LinkObserved {
        index: message.header.index,
        kind: LinkKind::Other,
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        master: None,
        lower: None,
        alias: String::new(),
        addresses: BTreeSet::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(is) => name = Some(is.clone()),
            LinkAttribute::Address(octets) => {
                let octets = <[u8; 6]>::try_from(octets.as_slice());
                link.mac = octets.ok().and_then(|octets| Mac::new(octets).ok());
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::Link(index) => link.lower = Some(*index),
            LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
            LinkAttribute::LinkInfo(infos) => link.kind = read_kind(infos),
            _ => {}
        }
    }
    Some((name?, link))
}

fn read_kind(infos: &[LinkInfo]) -> LinkKind {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(InfoKind::Bridge) => Some(LinkKind::Bridge),
        LinkInfo::Kind(InfoKind::Veth) => Some(LinkKind::Veth),
        LinkInfo::Kind(InfoKind::Tun) => Some(LinkKind::Tun),
        LinkInfo::Kind(InfoKind::MacVlan) => Some(LinkKind::Macvlan),
        LinkInfo::Data(InfoData::Vlan(infos)) => infos.iter().find_map(|info| match info {
            InfoVlan::Id(id) => Some(LinkKind::Vlan(*id)),
            _ => None,
        }),
        _ => None,
    });
    kind.unwrap_or(LinkKind::Other)
}

fn read_address(message: &AddressMessage) -> Option<Ipv4Net> {
    let local = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
            _ => None,
        })?;
    Ipv4Net::new(local, message.header.prefix_len).ok()
}

fn read_default(message: &RouteMessage) -> Option<Ipv4Addr> {
    if message.header.destination_prefix_length != 0
        || message.header.table != RouteHeader::RT_TABLE_MAIN
    {
        return None;
    }
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(via)) => Some(*via),
            _ => None,
        })
}
