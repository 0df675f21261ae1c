//! The laws of the plan, over a small model of the kernel: done means done, whatever was missing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use super::*;
use crate::network::rules::ForwardChain;
use crate::network::tests::{port, segment};
use crate::network::{DhcpObserved, PortObserved};
use std::path::Path;

mod uplink;

fn reach() -> Reach {
    Reach {
        blocked: Vec::new(),
        allowed: Vec::new(),
        transit: "100.127.0.0/16".parse().unwrap(),
    }
}

fn files() -> DhcpFiles {
    DhcpFiles::in_directory(Path::new("/run/kilonova/segments/x"))
}

/// The node and one Segment, and what each step makes of them.
#[derive(Clone, Default)]
struct Model {
    node: NodeSide,
    segment: Option<SegmentObserved>,
    next_index: u32,
}

impl Model {
    fn link(&mut self, kind: LinkKind) -> LinkObserved {
        self.next_index += 1;
        LinkObserved {
            index: self.next_index,
            kind,
            mac: None,
            mtu: 1500,
            up: false,
            master: None,
            lower: None,
            alias: String::new(),
            addresses: BTreeSet::new(),
        }
    }

    fn links(&mut self, place: Place) -> &mut std::collections::BTreeMap<String, LinkObserved> {
        match place {
            Place::Node => &mut self.node.links,
            Place::Segment => &mut self.segment.as_mut().unwrap().links,
        }
    }

    fn remove(&mut self, place: Place, name: &str) {
        // The other end of a pair that went is gone already.
        let Some(gone) = self.links(place).remove(name) else {
            return;
        };
        if gone.kind == LinkKind::Veth {
            // A pair goes as one.
            self.node.links.retain(|name, _| !name.starts_with("kx"));
            self.links(Place::Segment).remove(OUTWARD);
            self.segment.as_mut().unwrap().default_route = None;
        }
        if gone.kind == LinkKind::Bridge {
            let segment = self.segment.as_mut().unwrap();
            for port in segment.ports.values_mut() {
                port.link.as_mut().unwrap().master = None;
            }
            for link in segment.links.values_mut() {
                link.master = None;
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::MakeNetns => {
                let lo = self.link(LinkKind::Other);
                let mut made = SegmentObserved::default();
                made.links.insert("lo".to_owned(), lo);
                assert!(self.segment.replace(made).is_none());
            }
            Step::Switch(key, value) => {
                let switches = &mut self.segment.as_mut().unwrap().switches;
                switches.insert(key.to_owned(), value.to_owned());
            }
            Step::ApplyRules(text) => {
                let state = RulesState::Applied(rules::digest(&text));
                self.segment.as_mut().unwrap().rules = state;
            }
            Step::RestorePortRules(tap) => {
                let port = self.segment.as_mut().unwrap().ports.get_mut(&tap);
                port.unwrap().rules = RulesState::Applied("restored".to_owned());
            }
            Step::RemoveLink(place, name) => self.remove(place, &name),
            Step::MakeBridge(mac) => {
                let mut bridge = self.link(LinkKind::Bridge);
                bridge.mac = Some(mac);
                let old = self.links(Place::Segment).insert(BRIDGE.to_owned(), bridge);
                assert_eq!(old, None);
            }
            Step::EnableForwarding => self.node.ip_forward = true,
            Step::ApplyNodeRules(text) => {
                self.node.rules = RulesState::Applied(rules::digest(&text));
            }
            Step::AcceptForward(chain, stale) => {
                let (_, ours) = self
                    .node
                    .dropping
                    .iter_mut()
                    .find(|(other, _)| *other == chain)
                    .unwrap();
                ours.retain(|handle| !stale.contains(handle));
                ours.extend([70, 71]);
            }
            Step::MakeTransit(name) => {
                let (near, far) = (self.link(LinkKind::Veth), self.link(LinkKind::Veth));
                let name = name.to_string();
                assert_eq!(self.links(Place::Node).insert(name, near), None);
                let far = self.links(Place::Segment).insert(OUTWARD.to_owned(), far);
                assert_eq!(far, None);
            }
            Step::SetLink(place, wanted) => {
                let link = self.links(place).get_mut(&wanted.name).unwrap();
                link.up = true;
                link.alias = wanted.alias;
                link.mtu = wanted.mtu.unwrap_or(link.mtu);
                link.mac = wanted.mac.or(link.mac);
            }
            Step::AddAddress(place, name, address) => {
                let link = self.links(place).get_mut(&name).unwrap();
                assert!(link.addresses.insert(address));
            }
            Step::RemoveAddress(place, name, address) => {
                let link = self.links(place).get_mut(&name).unwrap();
                assert!(link.addresses.remove(&address));
                if name == OUTWARD {
                    self.segment.as_mut().unwrap().default_route = None;
                }
            }
            Step::DefaultRoute(via) => {
                assert!(self.links(Place::Segment)[OUTWARD].up);
                self.segment.as_mut().unwrap().default_route = Some(via);
            }
            Step::SilenceNic(_) | Step::RaiseNic(_) | Step::MakeUplink(..) => {
                self.uplink_step(step);
            }
            Step::Enslave(name) if name == LinkName::uplink() => {
                let bridge = self.links(Place::Segment)[BRIDGE].index;
                let link = self.links(Place::Segment).get_mut(UPLINK).unwrap();
                (link.master, link.up) = (Some(bridge), true);
            }
            Step::Enslave(tap) => {
                let bridge = self.links(Place::Segment)[BRIDGE].index;
                let port = self.segment.as_mut().unwrap().ports.get_mut(&tap);
                let link = port.unwrap().link.as_mut().unwrap();
                (link.master, link.up) = (Some(bridge), true);
            }
            Step::Serve(configuration) => {
                let bridge = self.links(Place::Segment)[BRIDGE].index;
                let server = DhcpObserved {
                    configuration,
                    bridge,
                };
                self.segment.as_mut().unwrap().dhcp = Some(server);
            }
            Step::StopServing => self.segment.as_mut().unwrap().dhcp = None,
        }
    }

    fn plan(&self, desired: &SegmentDesired) -> Vec<Step> {
        let Plan { steps, lacks } = self.whole_plan(desired);
        assert_eq!(lacks, []);
        steps
    }

    fn whole_plan(&self, desired: &SegmentDesired) -> Plan {
        plan(
            desired,
            self.segment.as_ref(),
            &self.node,
            &reach(),
            &files(),
        )
    }

    /// Carries the plan out, and finds that nothing is left to do.
    fn ensure(&mut self, desired: &SegmentDesired) {
        for step in self.plan(desired) {
            self.step(step);
        }
        assert_eq!(self.plan(desired), [], "a second plan");
    }

    fn plug(&mut self) {
        let bridge = self.links(Place::Segment)[BRIDGE].index;
        let mut link = self.link(LinkKind::Tun);
        (link.master, link.up) = (Some(bridge), true);
        let port_observed = PortObserved {
            link: Some(link),
            rules: RulesState::Applied("text".to_owned()),
            recorded: true,
            dhcp_host: None,
        };
        let ports = &mut self.segment.as_mut().unwrap().ports;
        ports.insert(port().tap, port_observed);
    }
}

fn made() -> Model {
    let mut model = Model::default();
    let forward = ForwardChain {
        family: "ip".to_owned(),
        table: "filter".to_owned(),
        name: "FORWARD".to_owned(),
        policy_drop: true,
    };
    model.node.dropping = vec![(forward, vec![3])];
    model.ensure(&segment());
    model.plug();
    assert_eq!(model.plan(&segment()), []);
    model
}

#[test]
fn rules_come_before_links_and_links_before_their_server() {
    let steps = Model::default().plan(&segment());
    let at = |wanted: fn(&Step) -> bool| steps.iter().position(wanted).unwrap();
    let netns = at(|s| matches!(s, Step::MakeNetns));
    let rules = at(|s| matches!(s, Step::ApplyRules(_)));
    let bridge = at(|s| matches!(s, Step::MakeBridge(_)));
    let node = at(|s| matches!(s, Step::ApplyNodeRules(_)));
    let transit = at(|s| matches!(s, Step::MakeTransit(_)));
    let serve = at(|s| matches!(s, Step::Serve(_)));
    let order = [netns, rules, bridge, node, transit, serve];
    assert!(order.is_sorted(), "{steps:#?}");
}

#[test]
fn whatever_is_damaged_is_repaired() {
    let damages: [fn(&mut Model); 17] = [
        |m| m.segment.as_mut().unwrap().rules = RulesState::Absent,
        |m| m.segment.as_mut().unwrap().rules = RulesState::Changed,
        |m| m.node.rules = RulesState::Changed,
        |m| m.node.ip_forward = false,
        |m| m.node.dropping[0].1.clear(),
        |m| m.remove(Place::Segment, BRIDGE),
        |m| m.remove(Place::Segment, OUTWARD),
        |m| m.links(Place::Segment).get_mut(BRIDGE).unwrap().kind = LinkKind::Other,
        |m| m.links(Place::Segment).get_mut(BRIDGE).unwrap().mtu = 9000,
        |m| m.links(Place::Segment).get_mut(BRIDGE).unwrap().up = false,
        |m| {
            m.links(Place::Segment)
                .get_mut(BRIDGE)
                .unwrap()
                .addresses
                .clear();
        },
        |m| {
            m.links(Place::Segment).get_mut(OUTWARD).unwrap().addresses =
                ["10.9.9.9/24".parse().unwrap()].into();
        },
        |m| {
            m.links(Place::Node)
                .values_mut()
                .for_each(|l| l.addresses.clear());
        },
        |m| m.segment.as_mut().unwrap().default_route = None,
        |m| m.segment.as_mut().unwrap().dhcp = None,
        |m| {
            m.segment
                .as_mut()
                .unwrap()
                .switches
                .values_mut()
                .for_each(|v| *v = "2".to_owned());
        },
        |m| {
            let port = m
                .segment
                .as_mut()
                .unwrap()
                .ports
                .get_mut(&port().tap)
                .unwrap();
            port.rules = RulesState::Absent;
            port.link.as_mut().unwrap().master = None;
        },
    ];
    for first in &damages {
        for second in &damages {
            let mut model = made();
            first(&mut model);
            if model.links(Place::Segment).contains_key(BRIDGE)
                && model.links(Place::Segment).contains_key(OUTWARD)
            {
                second(&mut model);
            }
            assert_ne!(model.plan(&segment()), []);
            model.ensure(&segment());
            let segment = model.segment.as_ref().unwrap();
            assert_eq!(segment.plugged().collect::<Vec<_>>(), [&port().tap]);
        }
    }
}

#[test]
fn a_netns_that_was_cut_off_anywhere_is_finished() {
    let whole = Model::default().plan(&segment());
    for done in 0..whole.len() {
        let mut model = Model::default();
        for step in whole.iter().take(done).cloned() {
            model.step(step);
        }
        model.ensure(&segment());
    }
}

#[test]
fn any_segment_becomes_any_other() {
    let variants: Vec<_> = [(true, true), (true, false), (false, true), (false, false)]
        .into_iter()
        .map(|(routed, dhcp)| {
            let mut wanted = segment();
            (wanted.routed, wanted.dhcp) = (routed, dhcp);
            wanted
        })
        .collect();
    for before in &variants {
        for after in &variants {
            let mut model = Model::default();
            model.ensure(before);
            model.ensure(after);
            let out = model.links(Place::Segment).contains_key(OUTWARD);
            assert_eq!(out, after.routed);
        }
    }
}

#[test]
fn where_the_node_is_no_gateway_its_address_is_not_answered_for() {
    let mut wanted = segment();
    wanted.routed = false;
    let mut model = Model::default();
    model.ensure(&wanted);
    let has = &model.links(Place::Segment)[BRIDGE].addresses;
    let outside: Ipv4Net = "169.254.169.254/32".parse().unwrap();
    assert_eq!(*has, BTreeSet::from([outside]), "a router is named");
    wanted.subnets[0].gateway = None;
    model.ensure(&wanted);
    let has = &model.links(Place::Segment)[BRIDGE].addresses;
    let first: Ipv4Net = "10.0.0.1/24".parse().unwrap();
    assert_eq!(*has, BTreeSet::from([first]), "nobody else can have it");
}

#[test]
fn a_segment_keeps_its_transit_pair() {
    let mut model = made();
    let kept = model.links(Place::Segment)[OUTWARD].addresses.clone();
    let mut other = segment();
    other.mtu = 1400;
    model.ensure(&other);
    assert_eq!(model.links(Place::Segment)[OUTWARD].addresses, kept);
}
