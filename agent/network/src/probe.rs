//! What the kernel does of what networks need, tried: a module that is not loaded is loaded by that,
//! where the node can, and what a list of modules would not show is seen.

use crate::command::{CommandError, run};
use crate::error::Error;
use crate::netlink::Netlink;
use crate::netns::within_new;
use crate::{Network, nft};
use kilonova_agent_core::needs::Feature;
use kilonova_agent_core::network::rules::{self, Reach};
use kilonova_agent_core::network::{BRIDGE, OUTWARD};

/// A tap's name, in a netns of its own.
const TAP: &str = "kttrial";

impl Network {
    /// What the kernel of this node does not do, and what it said. Tried in a netns without a name,
    /// which is gone afterwards. What only NICs need is not tried where there is none.
    pub async fn probe(&self) -> Vec<(Feature, Error)> {
        let tried = within_new(try_all(self.reach.clone(), self.has_nics())).await;
        tried.unwrap_or_else(|error| vec![(Feature::Netns, error.into())])
    }
}

/// Runs in a new netns: nothing here names another one.
async fn try_all(reach: Reach, has_nics: bool) -> Vec<(Feature, Error)> {
    let netlink = match Netlink::open(None).await {
        Ok(netlink) => netlink,
        Err(error) => return vec![(Feature::Netns, error.into())],
    };
    let bridge = netlink.try_bridge().await;
    let veth = netlink.try_veth().await;
    // Without either there is nothing to put them on, and nothing to say of them.
    let lower = match (&veth, &bridge) {
        _ if !has_nics => None,
        (Ok(()), _) => Some(OUTWARD),
        (_, Ok(())) => Some(BRIDGE),
        _ => None,
    };
    let (vlan, macvlan) = match lower {
        Some(lower) => (
            netlink.try_vlan(lower).await,
            netlink.try_macvlan(lower).await,
        ),
        None => (Ok(()), Ok(())),
    };
    let links = [
        (Feature::Bridge, bridge),
        (Feature::Veth, veth),
        (Feature::Vlan, vlan),
        (Feature::Macvlan, macvlan),
    ];
    let links = links
        .into_iter()
        .filter_map(|(feature, tried)| Some((feature, tried.err()?.into())));
    let programs = [
        (Feature::Tap, try_tap().await),
        (Feature::Rules, nft::check(&rules::trial(&reach)).await),
    ];
    let programs = programs
        .into_iter()
        .filter_map(|(feature, tried)| Some((feature, tried.err()?.into())));
    links.chain(programs).collect()
}

async fn try_tap() -> Result<(), CommandError> {
    let args = ["tuntap", "add", "dev", TAP, "mode", "tap", "vnet_hdr"];
    run(None, "ip", &args, "").await.map(drop)
}
