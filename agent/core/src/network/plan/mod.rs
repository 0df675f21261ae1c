//! From what a Segment should be and what it is to the steps between.
//!
//! Rules come before the links that they are for, and the uplink comes last: where the node has not
//! what it needs, all else is done. A step may be repeated; after all of them are done, there are
//! none.

mod step;

pub use step::{LinkDesired, Place, Step};

use super::rules::{self, Reach};
use super::{
    BRIDGE, DhcpFiles, Exhausted, LinkKind, LinkName, LinkObserved, NicFault, NicObserved,
    NodeSide, OUTWARD, RulesState, SegmentDesired, SegmentObserved, Transit, UPLINK, Uplink, dhcp,
};
use ipnet::Ipv4Net;
use std::collections::BTreeSet;

/// The switches of a Segment: no IPv6 of its own; bridged frames pass no hook but the bridge's; the
/// gateway answers ARP only for what is on the bridge, and tells guests of no shorter way; a guest
/// that renews its address is heard where there is no route back to it (what it may send as is
/// decided at its port).
const SWITCHES: [(&str, &str); 10] = [
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
    ("bridge/bridge-nf-call-arptables", "0"),
    ("ipv4/conf/all/arp_ignore", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
];

/// The switch by which a netns forwards IPv4.
const FORWARDING: &str = "ipv4/ip_forward";

/// The names of the switches that a Segment's observation reads, under `/proc/sys/net`.
pub fn switches() -> impl Iterator<Item = &'static str> {
    SWITCHES.iter().map(|(key, _)| *key).chain([FORWARDING])
}

/// What is to be done for a Segment, and what stands against the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// Why it will not be all that it should be, whatever the steps do.
    pub lacks: Vec<Lack>,
}

/// What a node has not that a Segment needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// No transit address is left.
    #[error(transparent)]
    Transit(#[from] Exhausted),
    /// There is no NIC for it.
    #[error(transparent)]
    Nic(#[from] NicFault),
    /// The NIC carries too little.
    #[error("NIC {nic} carries packets of {carries} bytes, and the network's MTU is {wanted}")]
    Mtu {
        /// The NIC.
        nic: String,
        /// Its MTU, in bytes.
        carries: u32,
        /// The Segment's, in bytes.
        wanted: u32,
    },
    /// Another link has the frames already: seen only when ours is made.
    #[error("{} of NIC {nic} are another link's of this node already", frames(*vlan))]
    Taken {
        /// The NIC.
        nic: String,
        /// The VLAN whose frames they are; none: those without a tag.
        vlan: Option<u16>,
    },
}

fn frames(vlan: Option<u16>) -> String {
    vlan.map_or_else(
        || "the frames without a tag".to_owned(),
        |id| format!("the frames of VLAN {id}"),
    )
}

/// The steps that make a Segment what it should be.
#[must_use]
pub fn plan(
    desired: &SegmentDesired,
    observed: Option<&SegmentObserved>,
    node: &NodeSide,
    reach: &Reach,
    files: &DhcpFiles,
) -> Plan {
    let nothing = SegmentObserved::default();
    let mut planner = Planner {
        desired,
        fresh: observed.is_none(),
        observed: observed.unwrap_or(&nothing),
        node,
        steps: Vec::new(),
    };
    let mut lacks = Vec::new();
    planner.netns();
    planner.rules(reach);
    planner.bridge();
    lacks.extend(planner.outwards(reach).err().map(Lack::from));
    planner.ports();
    planner.dhcp(files);
    lacks.extend(planner.uplink().err());
    Plan {
        steps: planner.steps,
        lacks,
    }
}

struct Planner<'a> {
    desired: &'a SegmentDesired,
    /// There is no netns yet, so that nothing is known of what the kernel will have in it.
    fresh: bool,
    observed: &'a SegmentObserved,
    node: &'a NodeSide,
    steps: Vec<Step>,
}

impl Planner<'_> {
    fn netns(&mut self) {
        if self.fresh {
            self.steps.push(Step::MakeNetns);
        }
        let forwarding = if self.desired.routed { "1" } else { "0" };
        for (key, value) in SWITCHES.into_iter().chain([(FORWARDING, forwarding)]) {
            let is = self.observed.switches.get(key);
            // A switch that is not there needs no setting, once the kernel was asked.
            if is.map_or(self.fresh, |is| is != value) {
                self.steps.push(Step::Switch(key, value));
            }
        }
        let lo = LinkDesired {
            name: "lo".to_owned(),
            mac: None,
            mtu: None,
            alias: self.desired.network.alias(),
        };
        self.set(Place::Segment, self.observed.links.get("lo"), lo);
    }

    fn rules(&mut self, reach: &Reach) {
        let text = rules::segment_rules(self.desired, reach);
        if self.observed.rules != RulesState::Applied(rules::digest(&text)) {
            self.steps.push(Step::ApplyRules(text));
        }
        for (tap, port) in &self.observed.ports {
            if port.recorded && !matches!(port.rules, RulesState::Applied(_)) {
                self.steps.push(Step::RestorePortRules(tap.clone()));
            }
        }
    }

    fn bridge(&mut self) {
        let found = self.observed.links.get(BRIDGE);
        let bridge = found.filter(|link| link.kind == LinkKind::Bridge);
        if found.is_some() && bridge.is_none() {
            self.remove(Place::Segment, BRIDGE);
        }
        if bridge.is_none() {
            self.steps.push(Step::MakeBridge(self.desired.gateway_mac));
        }
        let link = LinkDesired {
            name: BRIDGE.to_owned(),
            mac: Some(self.desired.gateway_mac),
            mtu: Some(self.desired.mtu),
            alias: self.desired.network.alias(),
        };
        self.set(Place::Segment, bridge, link);
        let own = self.desired.own_addresses();
        self.addresses(Place::Segment, BRIDGE, bridge, &own);
    }

    /// The link to the Segment's other nodes. A NIC is looked at before it is used for the first
    /// time: one that is in use stays so, whatever it carries by now. A link to the wrong frames goes
    /// at once; one to the right frames of another NIC when the new NIC is known to do.
    fn uplink(&mut self) -> Result<(), Lack> {
        let found = self.observed.links.get(UPLINK);
        let Some(wanted) = &self.desired.uplink else {
            if found.is_some() {
                self.remove(Place::Segment, UPLINK);
            }
            return Ok(());
        };
        let kind = wanted.vlan.map_or(LinkKind::Macvlan, LinkKind::Vlan);
        let right = found.filter(|link| link.kind == kind);
        if found.is_some() && right.is_none() {
            self.remove(Place::Segment, UPLINK);
        }
        let nic = match self.usable_nic(wanted, right) {
            Ok(nic) => nic,
            Err(lack) => {
                // What there is goes on.
                if right.is_some() {
                    self.plug_uplink(right);
                }
                return Err(lack);
            }
        };
        let whole = right.filter(|link| link.lower == Some(nic.index));
        if right.is_some() && whole.is_none() {
            self.remove(Place::Segment, UPLINK);
        }
        if !nic.up || whole.is_none() {
            // Or a router in the physical network would give the node an address there.
            self.steps.push(Step::SilenceNic(nic.name.clone()));
        }
        if !nic.up {
            self.steps.push(Step::RaiseNic(nic.name.clone()));
        }
        if whole.is_none() {
            let step = Step::MakeUplink(nic.name.clone(), wanted.vlan);
            self.steps.push(step);
        }
        let link = LinkDesired {
            name: UPLINK.to_owned(),
            mac: None,
            mtu: Some(self.desired.mtu),
            alias: self.desired.network.alias(),
        };
        self.set(Place::Segment, whole, link);
        self.plug_uplink(whole);
        Ok(())
    }

    fn plug_uplink(&mut self, uplink: Option<&LinkObserved>) {
        let bridge = self.observed.links.get(BRIDGE).map(|bridge| bridge.index);
        let plugged = uplink.is_some_and(|link| bridge.is_some() && link.master == bridge);
        if !plugged || self.rebuilds_bridge() {
            self.steps.push(Step::Enslave(LinkName::uplink()));
        }
    }

    /// The NIC for the uplink; `there`: one to these frames that is there already.
    fn usable_nic(
        &self,
        wanted: &Uplink,
        there: Option<&LinkObserved>,
    ) -> Result<NicObserved, Lack> {
        let unnamed = || NicFault::Unnamed(wanted.physical_network.clone());
        let nic = self.node.nic.clone();
        let nic = nic.unwrap_or_else(|| Err(unnamed()))?;
        let in_use = there.is_some_and(|link| link.lower == Some(nic.index));
        match nic.fault() {
            Some(fault) if !in_use => return Err(fault.into()),
            _ => self.fits(&nic)?,
        }
        Ok(nic)
    }

    fn fits(&self, nic: &NicObserved) -> Result<(), Lack> {
        if nic.mtu >= self.desired.mtu {
            return Ok(());
        }
        Err(Lack::Mtu {
            nic: nic.name.clone(),
            carries: nic.mtu,
            wanted: self.desired.mtu,
        })
    }

    fn outwards(&mut self, reach: &Reach) -> Result<(), Exhausted> {
        let name = LinkName::transit(&self.desired.netns);
        let near = self.node.links.get(name.as_str());
        let far = self.observed.links.get(OUTWARD);
        let whole = self.desired.routed && near.is_some() && far.is_some();
        if !whole {
            // Half a pair is none: its other end is somewhere else.
            if near.is_some() {
                self.remove(Place::Node, name.as_str());
            }
            if far.is_some() {
                self.remove(Place::Segment, OUTWARD);
            }
        }
        if !self.desired.routed {
            return Ok(());
        }
        self.node_side(reach);
        let pair = self.transit(near, reach)?;
        let before = self.steps.len();
        if !whole {
            self.steps.push(Step::MakeTransit(name.clone()));
        }
        let ends = [
            (Place::Node, name.as_str(), near, pair.node),
            (Place::Segment, OUTWARD, far, pair.segment),
        ];
        for (place, name, link, address) in ends {
            let link = link.filter(|_| whole);
            let wanted = LinkDesired {
                name: name.to_owned(),
                mac: None,
                mtu: Some(self.desired.mtu),
                alias: self.desired.network.alias(),
            };
            self.addresses(place, name, link, &BTreeSet::from([address]));
            self.set(place, link, wanted);
        }
        // The route goes with its link and address, whatever was seen before.
        let touched = self.steps.len() != before;
        if touched || self.observed.default_route != Some(pair.node.addr()) {
            self.steps.push(Step::DefaultRoute(pair.node.addr()));
        }
        Ok(())
    }

    /// What the node needs once, whatever Segments it has.
    fn node_side(&mut self, reach: &Reach) {
        let text = rules::node_rules(reach);
        if self.node.rules != RulesState::Applied(rules::digest(&text)) {
            self.steps.push(Step::ApplyNodeRules(text));
        }
        for (chain, ours) in &self.node.dropping {
            if ours.len() != rules::ACCEPTS {
                self.steps
                    .push(Step::AcceptForward(chain.clone(), ours.clone()));
            }
        }
        if !self.node.ip_forward {
            self.steps.push(Step::EnableForwarding);
        }
    }

    /// The pair that the link has, or a new one.
    fn transit(&self, near: Option<&LinkObserved>, reach: &Reach) -> Result<Transit, Exhausted> {
        let has = near
            .into_iter()
            .flat_map(|link| &link.addresses)
            .find_map(|address| Transit::of(reach.transit, *address));
        if let Some(pair) = has {
            return Ok(pair);
        }
        let own = LinkName::transit(&self.desired.netns);
        let taken = self
            .node
            .links
            .iter()
            .filter(|(name, _)| *name != own.as_str())
            .flat_map(|(_, link)| link.addresses.iter().copied())
            .collect();
        Transit::choose(reach.transit, &self.desired.netns, &taken)
    }

    fn ports(&mut self) {
        let plugged: BTreeSet<_> = if self.rebuilds_bridge() {
            BTreeSet::new()
        } else {
            self.observed.plugged().collect()
        };
        for (tap, port) in &self.observed.ports {
            if port.link.is_some() && !plugged.contains(tap) {
                self.steps.push(Step::Enslave(tap.clone()));
            }
        }
    }

    fn dhcp(&mut self, files: &DhcpFiles) {
        if !self.desired.dhcp {
            if self.observed.dhcp.is_some() {
                self.steps.push(Step::StopServing);
            }
            return;
        }
        let text = dhcp::configuration(self.desired, files);
        let bridge = self.observed.links.get(BRIDGE).map(|bridge| bridge.index);
        let serves =
            self.observed.dhcp.as_ref().is_some_and(|server| {
                server.configuration == text && Some(server.bridge) == bridge
            });
        if !serves || self.rebuilds_bridge() {
            self.steps.push(Step::Serve(text));
        }
    }

    fn rebuilds_bridge(&self) -> bool {
        let makes = |step: &Step| matches!(step, Step::MakeBridge(_));
        self.steps.iter().any(makes)
    }

    fn remove(&mut self, place: Place, name: &str) {
        self.steps.push(Step::RemoveLink(place, name.to_owned()));
    }

    /// Sets a link, where something of it differs.
    fn set(&mut self, place: Place, is: Option<&LinkObserved>, wanted: LinkDesired) {
        let same = is.is_some_and(|is| {
            is.up
                && is.alias == wanted.alias
                && wanted.mtu.is_none_or(|mtu| is.mtu == mtu)
                && wanted.mac.is_none_or(|mac| is.mac == Some(mac))
        });
        if !same {
            self.steps.push(Step::SetLink(place, wanted));
        }
    }

    /// Takes away the addresses that a link should not have, gives it those that it should.
    fn addresses(
        &mut self,
        place: Place,
        name: &str,
        is: Option<&LinkObserved>,
        wanted: &BTreeSet<Ipv4Net>,
    ) {
        let has = is.map(|link| link.addresses.clone()).unwrap_or_default();
        for address in has.difference(wanted) {
            self.steps
                .push(Step::RemoveAddress(place, name.to_owned(), *address));
        }
        for address in wanted.difference(&has) {
            self.steps
                .push(Step::AddAddress(place, name.to_owned(), *address));
        }
    }
}

#[cfg(test)]
mod tests;
