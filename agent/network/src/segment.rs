//! A Segment: observed, and carried out step by step.

use crate::Network;
use crate::error::{Error, Failures, Lacks};
use crate::netlink::Netlink;
use crate::{dhcp, files, netns, nft, switches};
use kilonova_agent_core::network::plan::{self, Lack, Place, Plan, Step};
use kilonova_agent_core::network::rules::{Listing, Record};
use kilonova_agent_core::network::{
    BRIDGE, LinkName, LinkObserved, Netns, NetworkRef, PortObserved, SegmentDesired,
    SegmentObserved, UPLINK,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

impl Network {
    /// Reads one Segment; none when its netns is not there.
    pub(crate) async fn observe_segment(
        &self,
        netns: &Netns,
    ) -> Result<Option<SegmentObserved>, Error> {
        if !netns::exists(netns) {
            return Ok(None);
        }
        let netlink = Netlink::open(Some(netns)).await?;
        let mut links = netlink.links().await?;
        let default_route = netlink.default_route().await?;
        let listing = Listing::parse(&nft::ruleset(netns).await?)?;
        let files = self.run.segment(netns);
        let record = files::read_record(&files.record())?;
        let ports = self.read_ports(netns, &mut links, &listing)?;
        let alias = links.get("lo").map(|lo| lo.alias.as_str());
        Ok(Some(SegmentObserved {
            network: alias.and_then(NetworkRef::from_alias),
            rules: Listing::state(record.as_ref(), listing.base.as_ref()),
            links,
            ports,
            dhcp: self.servers.observe(netns),
            switches: switches::of_segment(netns).await?,
            default_route,
        }))
    }

    /// Puts together what there is of each port; its tap is taken out of the links.
    fn read_ports(
        &self,
        netns: &Netns,
        links: &mut BTreeMap<String, LinkObserved>,
        listing: &Listing,
    ) -> Result<BTreeMap<LinkName, PortObserved>, Error> {
        let files = self.run.segment(netns);
        let mut ports: BTreeMap<LinkName, PortObserved> = BTreeMap::new();
        let taps: Vec<_> = links.keys().filter_map(|name| tap(name)).collect();
        for tap in taps {
            let link = links.remove(tap.as_str());
            ports.entry(tap).or_default().link = link;
        }
        for (tap, line) in files.hosts()? {
            ports.entry(tap).or_default().dhcp_host = Some(line);
        }
        let records = files.port_records()?;
        for tap in listing.ports.keys().chain(records.keys()) {
            let port = ports.entry(tap.clone()).or_default();
            port.recorded = records.contains_key(tap);
            port.rules = Listing::state(records.get(tap), listing.ports.get(tap));
        }
        Ok(ports)
    }

    /// What is to be done for a Segment.
    pub(crate) async fn plan_segment(&self, segment: &SegmentDesired) -> Result<Plan, Error> {
        let (observed, node) = tokio::try_join!(
            self.observe_segment(&segment.netns),
            self.node_side(segment)
        )?;
        let files = self.run.segment(&segment.netns).dhcp;
        Ok(plan::plan(
            segment,
            observed.as_ref(),
            &node,
            &self.reach,
            &files,
        ))
    }

    /// Carries one step out. `fresh`: the netns was made just now.
    pub(crate) async fn execute(
        &self,
        netns: &Netns,
        step: Step,
        fresh: bool,
    ) -> Result<(), Error> {
        match step {
            Step::MakeNetns => self.make_netns(netns).await,
            Step::Switch(key, value) => switches::set(Some(netns), key.to_owned(), value).await,
            Step::ApplyRules(text) => self.apply_rules(netns, text).await,
            Step::RestorePortRules(tap) => self.restore_port_rules(netns, &tap).await,
            Step::EnableForwarding => {
                tracing::info!("letting this node forward IPv4");
                switches::set(None, "ipv4/ip_forward".to_owned(), "1").await
            }
            Step::ApplyNodeRules(text) => self.apply_node_rules(text).await,
            Step::AcceptForward(chain, stale) => self.accept_forward(&chain, &stale).await,
            Step::MakeTransit(name) => make_transit(netns, &name).await,
            Step::MakeUplink(nic, vlan) => make_uplink(netns, nic, vlan, fresh).await,
            Step::SilenceNic(name) => {
                let key = format!("ipv6/conf/{name}/disable_ipv6");
                switches::set(None, key, "1").await
            }
            Step::RaiseNic(name) => Ok(Netlink::open(None).await?.raise(&name).await?),
            Step::Serve(configuration) => self.serve(netns, configuration).await,
            Step::StopServing => self.stop_serving(netns).await,
            Step::RemoveLink(place, _)
            | Step::SetLink(place, _)
            | Step::AddAddress(place, ..)
            | Step::RemoveAddress(place, ..) => link_step(place_in(place, netns), step).await,
            Step::MakeBridge(_) | Step::DefaultRoute(_) | Step::Enslave(_) => {
                link_step(Some(netns), step).await
            }
        }
    }

    /// Makes the netns. Who stands in one of that name that somebody removed keeps it, and its
    /// uplink, alive: they go first.
    async fn make_netns(&self, netns: &Netns) -> Result<(), Error> {
        self.watches.stop(netns);
        self.servers.stop(netns).await;
        Ok(netns::make(netns).await?)
    }

    async fn apply_rules(&self, netns: &Netns, text: String) -> Result<(), Error> {
        let files = self.run.segment(netns);
        files.make()?;
        nft::apply(Some(netns), &text).await?;
        let listed = Listing::parse(&nft::ruleset(netns).await?)?.base;
        let record = Record {
            text,
            listed: listed.unwrap_or_default(),
        };
        Ok(files::write_record(&files.record(), &record)?)
    }

    /// Remembers a port's rules, just put in, and what nft shows of them.
    pub(crate) async fn record_port_rules(
        &self,
        netns: &Netns,
        tap: &LinkName,
        text: String,
    ) -> Result<(), Error> {
        let mut listing = Listing::parse(&nft::ruleset(netns).await?)?;
        let record = Record {
            text,
            listed: listing.ports.remove(tap).unwrap_or_default(),
        };
        let path = self.run.segment(netns).port_record(tap);
        Ok(files::write_record(&path, &record)?)
    }

    async fn restore_port_rules(&self, netns: &Netns, tap: &LinkName) -> Result<(), Error> {
        let record = files::read_record(&self.run.segment(netns).port_record(tap))?;
        let Some(record) = record else {
            // It was unplugged since: there is nothing to restore.
            return Ok(());
        };
        nft::apply(Some(netns), &record.text).await?;
        self.record_port_rules(netns, tap, record.text).await
    }

    /// Starts the DHCP server.
    pub(crate) async fn serve(&self, netns: &Netns, configuration: String) -> Result<(), Error> {
        let files = self.run.segment(netns);
        files.make()?;
        let bridge = Netlink::open(Some(netns)).await?.need(BRIDGE).await?;
        let servers = &self.servers;
        Ok(servers.serve(netns, &files, configuration, bridge).await?)
    }

    async fn stop_serving(&self, netns: &Netns) -> Result<(), Error> {
        self.servers.stop(netns).await;
        files::remove(&self.run.segment(netns).dhcp.configuration())?;
        Ok(())
    }

    /// Starts the DHCP server of a Segment as it last was, where there was one and none runs.
    pub(crate) async fn resume_serving(&self, netns: &Netns) -> Result<(), Error> {
        let configuration = files::read(&self.run.segment(netns).dhcp.configuration())?;
        match configuration {
            Some(configuration) if self.servers.observe(netns).is_none() => {
                self.serve(netns, configuration).await
            }
            _ => Ok(()),
        }
    }

    /// Removes a Segment; goes on whatever fails.
    pub(crate) async fn tear_down(&self, netns: &Netns, failures: &mut Failures) {
        let files = self.run.segment(netns);
        self.watches.stop(netns);
        self.servers.stop(netns).await;
        let (stale, its_files) = (netns.clone(), files.clone());
        let ended = netns::within(None, move || dhcp::end_stale(&stale, &its_files)).await;
        failures.keep(ended);
        let transit = LinkName::transit(netns);
        failures.keep(remove_link(None, transit.as_str()).await);
        if netns::exists(netns) {
            // The kernel removes a netns in its own time, and its links with it; these go now.
            failures.keep(remove_own_links(netns).await);
        }
        failures.keep(netns::remove(netns));
        failures.keep(files.remove());
    }
}

/// The tap that a link's name is.
pub(crate) fn tap(name: &str) -> Option<LinkName> {
    LinkName::new(name).ok().filter(LinkName::is_tap)
}

fn place_in(place: Place, netns: &Netns) -> Option<&Netns> {
    match place {
        Place::Node => None,
        Place::Segment => Some(netns),
    }
}

/// A step that is one request to the kernel.
async fn link_step(netns: Option<&Netns>, step: Step) -> Result<(), Error> {
    let netlink = Netlink::open(netns).await?;
    match step {
        Step::RemoveLink(_, name) => netlink.remove(&name).await?,
        Step::SetLink(_, link) => netlink.set(&link).await?,
        Step::AddAddress(_, name, address) => netlink.add_address(&name, address).await?,
        Step::RemoveAddress(_, name, address) => netlink.remove_address(&name, address).await?,
        Step::MakeBridge(mac) => netlink.make_bridge(mac).await?,
        Step::DefaultRoute(via) => netlink.set_default_route(via).await?,
        Step::Enslave(tap) => netlink.enslave(tap.as_str()).await?,
        _ => {}
    }
    Ok(())
}

/// Makes the link out of a Segment. The node speaks no IPv6 on it.
async fn make_transit(netns: &Netns, name: &LinkName) -> Result<(), Error> {
    Netlink::open(None)
        .await?
        .make_transit(name.as_str(), netns)
        .await?;
    let key = format!("ipv6/conf/{name}/disable_ipv6");
    switches::set(None, key, "1").await
}

/// How long a netns that somebody removed may keep what was in it: the kernel ends one in its own
/// time.
const LINGERS: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const LINGERS_POLL: Duration = Duration::from_millis(50);

/// Makes the link to a Segment's other nodes, in its netns, on a NIC of the node. Only a netns that
/// was made just now may be in the place of one that the kernel has not ended yet: else what is
/// taken stays so, and nobody is kept waiting for it.
async fn make_uplink(
    netns: &Netns,
    nic: String,
    vlan: Option<u16>,
    fresh: bool,
) -> Result<(), Error> {
    tracing::info!(%netns, nic, vlan, "joining a physical network");
    let node = Netlink::open(None).await?;
    let since = Instant::now();
    loop {
        match node.make_uplink(&nic, vlan, netns).await {
            Err(error) if error.is_taken() && fresh && since.elapsed() < LINGERS => {
                tokio::time::sleep(LINGERS_POLL).await;
            }
            Err(error) if error.is_taken() => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%netns, nic, vlan, error, "cannot join a physical network");
                return Err(Error::Lacks(Lacks(vec![Lack::Taken { nic, vlan }])));
            }
            done => return Ok(done?),
        }
    }
}

/// Removes a link, if it is there.
pub(crate) async fn remove_link(netns: Option<&Netns>, name: &str) -> Result<(), Error> {
    Ok(Netlink::open(netns).await?.remove(name).await?)
}

/// Removes the taps, the bridge and the uplink in a Segment's netns.
async fn remove_own_links(netns: &Netns) -> Result<(), Error> {
    let netlink = Netlink::open(Some(netns)).await?;
    for name in netlink.links().await?.keys() {
        if name == BRIDGE || name == UPLINK || tap(name).is_some() {
            netlink.remove(name).await?;
        }
    }
    Ok(())
}
