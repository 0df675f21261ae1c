//! A port: its tap, its rules, its DHCP entry.

use crate::Network;
use crate::command::run;
use crate::error::{Error, Failures};
use crate::netlink::Netlink;
use crate::segment::{remove_link, tap};
use crate::{files, netns, nft};
use kilonova_agent_core::network::plan::LinkDesired;
use kilonova_agent_core::network::rules::{self, Listing};
use kilonova_agent_core::network::{
    BRIDGE, LinkName, Netns, PortDesired, RulesState, SegmentDesired, dhcp,
};
use std::collections::BTreeSet;

impl Network {
    /// Makes a tap beside libvirtd, down, with its MTU and its owner's name.
    pub(crate) async fn new_tap(&self, port: &PortDesired) -> Result<(), Error> {
        let name = port.tap.as_str();
        if netns::exists(&port.segment) {
            remove_link(Some(&port.segment), name).await?;
        }
        remove_link(None, name).await?;
        // Only /dev/net/tun makes taps; iproute2 knows how.
        let args = ["tuntap", "add", "dev", name, "mode", "tap", "vnet_hdr"];
        run(None, "ip", &args, "").await?;
        let link = LinkDesired {
            name: name.to_owned(),
            mac: None,
            mtu: Some(port.mtu),
            alias: format!("kilonova port {}", port.owner),
        };
        Ok(Netlink::open(None).await?.label(&link).await?)
    }

    /// Plugs a port whose Segment is there.
    pub(crate) async fn plug_port(
        &self,
        segment: &SegmentDesired,
        port: &PortDesired,
    ) -> Result<(), Error> {
        let text = rules::port_rules(port);
        let applied = self.has_port_rules(port, &text).await?;
        if !applied {
            nft::apply(Some(&port.segment), &text).await?;
        }
        self.ensure_dhcp_host(segment, port)?;
        let record = async {
            if applied {
                return Ok(());
            }
            self.record_port_rules(&port.segment, &port.tap, text).await
        };
        tokio::try_join!(record, attach(port)).map(drop)
    }

    /// Whether a port's rules are in the kernel, untouched since they were put in.
    async fn has_port_rules(&self, port: &PortDesired, text: &str) -> Result<bool, Error> {
        let (netns, tap) = (&port.segment, &port.tap);
        let path = self.run.segment(netns).port_record(tap);
        let Some(record) = files::read_record(&path)?.filter(|record| record.text == text) else {
            return Ok(false);
        };
        let listing = Listing::parse(&nft::ruleset(netns).await?)?;
        let state = Listing::state(Some(&record), listing.ports.get(tap));
        Ok(matches!(state, RulesState::Applied(_)))
    }

    fn ensure_dhcp_host(&self, segment: &SegmentDesired, port: &PortDesired) -> Result<(), Error> {
        let path = self.run.segment(&port.segment).dhcp.host(&port.tap);
        let wanted = dhcp::host_line(port).filter(|_| segment.dhcp);
        let is = files::read(&path)?;
        if is == wanted {
            return Ok(());
        }
        match wanted {
            Some(line) => files::write(&path, &line)?,
            None => drop(files::remove(&path)?),
        }
        // dnsmasq sees what is new by itself, and only that.
        if is.is_some() {
            self.servers.reload(&port.segment);
        }
        Ok(())
    }

    /// Removes a port; goes on whatever fails.
    pub(crate) async fn remove_port(&self, netns: &Netns, tap: &LinkName, failures: &mut Failures) {
        failures.keep(remove_link(None, tap.as_str()).await);
        let files = self.run.segment(netns);
        if netns::exists(netns) {
            failures.keep(remove_link(Some(netns), tap.as_str()).await);
            let withdrawn = nft::apply(Some(netns), &rules::withdraw_port_rules(tap)).await;
            failures.keep(withdrawn);
        }
        failures.keep(files::remove(&files.port_record(tap)));
        if failures.keep(files::remove(&files.dhcp.host(tap))) == Some(true) {
            self.servers.reload(netns);
        }
        failures.keep(self.servers.release(netns, &files).await);
    }

    /// The taps beside libvirtd.
    pub(crate) async fn loose_taps(&self) -> Result<BTreeSet<LinkName>, Error> {
        let links = Netlink::open(None).await?.links().await?;
        Ok(links.keys().filter_map(|name| tap(name)).collect())
    }
}

/// Takes a tap into its Segment, from wherever it is, and puts it on the bridge.
async fn attach(port: &PortDesired) -> Result<(), Error> {
    let name = port.tap.as_str();
    let inside = Netlink::open(Some(&port.segment)).await?;
    let links = inside.links().await?;
    let bridge = links.get(BRIDGE).map(|bridge| bridge.index);
    match links.get(name) {
        Some(tap) if tap.up && tap.master == bridge => return Ok(()),
        Some(_) => {}
        None => {
            let outside = Netlink::open(None).await?;
            if outside.index(name).await?.is_none() {
                return Err(Error::NoTap(port.tap.clone()));
            }
            outside.hand_over(name, &port.segment).await?;
        }
    }
    Ok(inside.enslave(name).await?)
}
