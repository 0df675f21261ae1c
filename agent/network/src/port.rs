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
        self.ensure_port_rules(port).await?;
        self.ensure_dhcp_host(segment, port)?;
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

    async fn ensure_port_rules(&self, port: &PortDesired) -> Result<(), Error> {
        let text = rules::port_rules(port);
        let (netns, tap) = (&port.segment, &port.tap);
        let record = files::read_record(&self.run.segment(netns).port_record(tap))?;
        let listing = Listing::parse(&nft::ruleset(netns).await?)?;
        let state = Listing::state(record.as_ref(), listing.ports.get(tap));
        if state == RulesState::Applied(rules::digest(&text)) {
            return Ok(());
        }
        self.apply_port_rules(netns, tap, text).await
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
