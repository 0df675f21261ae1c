//! The node's own netns: what every routed Segment shares.

use crate::Network;
use crate::error::{Error, Failures, Several};
use crate::netlink::{Netlink, NetlinkError};
use crate::{files, nft, switches};
use kilonova_agent_core::hypervisor::NicInNetwork;
use kilonova_agent_core::network::rules::{self, ForwardChain, Listing, Record};
use kilonova_agent_core::network::{
    LinkName, LinkObserved, NicFault, NicObserved, NodeSide, PhysicalNetwork, RulesState,
    SegmentDesired,
};
use std::collections::BTreeMap;

impl Network {
    /// Reads the node's side of a Segment. For one that leads nowhere its links are enough.
    pub(crate) async fn node_side(&self, segment: &SegmentDesired) -> Result<NodeSide, Error> {
        let links = Netlink::open(None).await?.links().await?;
        let nic = match &segment.uplink {
            Some(uplink) => Some(self.read_nic(&uplink.physical_network).await?),
            None => None,
        };
        if !segment.routed {
            return Ok(NodeSide {
                links,
                nic,
                ..NodeSide::default()
            });
        }
        let chains = nft::chains().await?;
        let mut dropping = Vec::new();
        for chain in rules::forward_chains(&chains)? {
            let listing = nft::chain(&chain).await?;
            if chain.drops(&listing)? {
                let ours = chain.ours(&listing)?;
                dropping.push((chain, ours));
            }
        }
        Ok(NodeSide {
            links,
            ip_forward: switches::node_forwards(),
            rules: self.node_rules(&chains).await?,
            dropping,
            nic,
        })
    }

    /// The NIC in a physical network.
    async fn read_nic(
        &self,
        network: &PhysicalNetwork,
    ) -> Result<Result<NicObserved, NicFault>, Error> {
        let Some(name) = self.physical_networks.nic(network) else {
            return Ok(Err(NicFault::Unnamed(network.clone())));
        };
        let found = Netlink::open(None).await?.nics(&[name]).await?.pop();
        Ok(found.ok_or_else(|| NicFault::Missing(name.to_owned())))
    }

    /// Every NIC in a physical network.
    pub(crate) async fn read_nics(&self) -> Vec<NicInNetwork> {
        let names: Vec<_> = self.physical_networks.iter().map(|(_, nic)| nic).collect();
        if names.is_empty() {
            return Vec::new();
        }
        let read = async { Netlink::open(None).await?.nics(&names).await };
        let found = read.await.map_err(|error| one(error).to_string());
        let of = |(network, name): (&PhysicalNetwork, &str)| {
            let nic = match &found {
                Ok(found) => {
                    let nic = found.iter().find(|nic| nic.name == name).cloned();
                    nic.ok_or_else(|| NicFault::Missing(name.to_owned()))
                }
                Err(why) => Err(NicFault::Unreadable {
                    nic: name.to_owned(),
                    why: why.clone(),
                }),
            };
            (network.clone(), nic)
        };
        self.physical_networks.iter().map(of).collect()
    }

    async fn node_rules(&self, chains: &str) -> Result<RulesState, Error> {
        // A table without a chain of ours is none of ours.
        if Listing::parse(chains)?.base.is_none() {
            return Ok(RulesState::Absent);
        }
        let listed = Listing::parse(&nft::own_table().await?)?.base;
        let record = files::read_record(&self.run.node_record())?;
        Ok(Listing::state(record.as_ref(), listed.as_ref()))
    }

    /// Puts the node's rules in.
    pub(crate) async fn apply_node_rules(&self, text: String) -> Result<(), Error> {
        nft::apply(None, &text).await?;
        let listed = Listing::parse(&nft::own_table().await?)?.base;
        let record = Record {
            text,
            listed: listed.unwrap_or_default(),
        };
        Ok(files::write_record(&self.run.node_record(), &record)?)
    }

    /// Puts our accepts into a chain that drops.
    pub(crate) async fn accept_forward(
        &self,
        chain: &ForwardChain,
        stale: &[u64],
    ) -> Result<(), Error> {
        tracing::info!(
            family = chain.family,
            table = chain.table,
            chain = chain.name,
            "this chain drops what is forwarded: accepting what Segments send and get"
        );
        Ok(nft::apply_json(&rules::accept_forward(chain, stale)).await?)
    }

    /// Takes everything of ours out of the node's netns, once no Segment leads out any more.
    pub(crate) async fn withdraw_node_side(&self, failures: &mut Failures) {
        let Some(links) = failures.keep(self.transit_links().await) else {
            return;
        };
        if !links.is_empty() {
            return;
        }
        failures.keep(withdraw_accepts().await);
        failures.keep(nft::apply(None, &rules::withdraw_node_rules()).await);
        failures.keep(files::remove(&self.run.node_record()));
    }

    /// The links by which Segments lead out.
    pub(crate) async fn transit_links(&self) -> Result<BTreeMap<String, LinkObserved>, Error> {
        let mut links = Netlink::open(None).await?.links().await?;
        links.retain(|name, _| LinkName::new(name).is_ok_and(|name| name.is_transit()));
        Ok(links)
    }
}

/// An error that is told with all its causes.
fn one(error: NetlinkError) -> Several {
    Several(vec![error.into()])
}

/// Takes our accepts out of the chains of others.
async fn withdraw_accepts() -> Result<(), Error> {
    for chain in rules::forward_chains(&nft::chains().await?)? {
        let ours = chain.ours(&nft::chain(&chain).await?)?;
        if !ours.is_empty() {
            nft::apply_json(&rules::withdraw_forward(&chain, &ours)).await?;
        }
    }
    Ok(())
}
