//! Links that are made to see whether the kernel makes such, in a netns that goes at once.

use super::{Netlink, NetlinkError};
use kilonova_agent_core::network::{BRIDGE, OUTWARD, UPLINK};
use netlink_packet_route::link::MacVlanMode;
use rtnetlink::{LinkBridge, LinkMacVlan, LinkMessageBuilder, LinkVeth, LinkVlan};

/// The other end of the pair.
const PEER: &str = "peer0";
/// A link on top of another.
const UPPER: &str = "upper0";

impl Netlink {
    pub(crate) async fn try_bridge(&self) -> Result<(), NetlinkError> {
        let bridge = LinkMessageBuilder::<LinkBridge>::new(BRIDGE).build();
        self.change_or_add(bridge, true, "making a bridge").await
    }

    pub(crate) async fn try_veth(&self) -> Result<(), NetlinkError> {
        let pair = LinkMessageBuilder::<LinkVeth>::new(OUTWARD, PEER).build();
        self.change_or_add(pair, true, "making a pair of links")
            .await
    }

    /// An 802.1Q link on `lower`.
    pub(crate) async fn try_vlan(&self, lower: &str) -> Result<(), NetlinkError> {
        let index = self.need(lower).await?;
        let link = LinkVlan::new(UPLINK, index, 1).build();
        self.change_or_add(link, true, "making an 802.1Q link")
            .await
    }

    /// A macvlan link on `lower`.
    pub(crate) async fn try_macvlan(&self, lower: &str) -> Result<(), NetlinkError> {
        let index = self.need(lower).await?;
        let link = LinkMacVlan::new(UPPER, index, MacVlanMode::Passthrough).build();
        self.change_or_add(link, true, "making a macvlan link")
            .await
    }
}
