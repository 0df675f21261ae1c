//! Where the taps of an instance are, from what was observed of the node's network.

use crate::desired::{Attachment, PortPlace};
use crate::network::rules::{self, digest};
use crate::network::{
    BRIDGE, LinkName, Netns, NodeNetwork, PortObserved, RulesState, SegmentObserved, dhcp,
};
use std::collections::BTreeMap;

/// More interfaces than an Instance can have: no tap of it has a higher number.
const MOST_PORTS: usize = 16;

/// The taps of the instance with that UUID that are there, and whether each is as it should be.
#[must_use]
pub fn places(
    uuid: &str,
    attachments: &[Attachment],
    network: &NodeNetwork,
) -> BTreeMap<LinkName, PortPlace> {
    let place = |tap: &LinkName| {
        // Rules and a DHCP pair that were put in before the tap came are not the tap's place yet.
        if network.loose_taps.contains(tap) {
            return Some(PortPlace::Beside);
        }
        network.segments.iter().find_map(|(netns, segment)| {
            let port = segment.ports.get(tap)?;
            let current = is_current(tap, netns, segment, port, attachments);
            let segment = netns.clone();
            Some(match port.link {
                Some(_) => PortPlace::Plugged { segment, current },
                None => PortPlace::Remains { segment },
            })
        })
    };
    (0..MOST_PORTS)
        .map(|index| LinkName::tap(uuid, index))
        .filter_map(|tap| Some((tap.clone(), place(&tap)?)))
        .collect()
}

/// Whether a port's link, rules and DHCP pair are as they should be, in the Segment where they
/// should be.
fn is_current(
    tap: &LinkName,
    netns: &Netns,
    segment: &SegmentObserved,
    port: &PortObserved,
    attachments: &[Attachment],
) -> bool {
    let wanted = attachments.iter().find(|a| a.port.tap == *tap);
    let Some(Attachment {
        segment: of,
        port: wanted,
    }) = wanted
    else {
        return false;
    };
    let bridge = segment.links.get(BRIDGE).map(|bridge| bridge.index);
    let linked = port
        .link
        .as_ref()
        .is_some_and(|link| link.up && bridge.is_some() && link.master == bridge);
    let ruled = port.rules == RulesState::Applied(digest(&rules::port_rules(wanted)));
    let served = port.dhcp_host == dhcp::host_line(wanted).filter(|_| of.dhcp);
    wanted.segment == *netns && linked && ruled && served
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::desired::attachments;
    use crate::network::{LinkKind, LinkObserved};
    use crate::plan::simulation::{UUID, segments, spec, taps};

    fn ports() -> Vec<Attachment> {
        let segments: Vec<_> = segments().into_values().collect();
        attachments(&spec(), &segments).unwrap()
    }

    fn link(index: u32, kind: LinkKind, master: Option<u32>) -> LinkObserved {
        LinkObserved {
            index,
            kind,
            mac: None,
            mtu: 1500,
            up: true,
            master,
            lower: None,
            alias: String::new(),
            addresses: std::collections::BTreeSet::new(),
        }
    }

    /// A node on which the first port is plugged as it should be.
    fn plugged() -> NodeNetwork {
        let first = ports().remove(0);
        let port = PortObserved {
            link: Some(link(2, LinkKind::Tun, Some(1))),
            rules: RulesState::Applied(digest(&rules::port_rules(&first.port))),
            recorded: true,
            dhcp_host: dhcp::host_line(&first.port),
        };
        let segment = SegmentObserved {
            links: BTreeMap::from([(BRIDGE.to_owned(), link(1, LinkKind::Bridge, None))]),
            ports: BTreeMap::from([(first.port.tap.clone(), port)]),
            ..SegmentObserved::default()
        };
        NodeNetwork {
            segments: BTreeMap::from([(first.segment.netns, segment)]),
            ..NodeNetwork::default()
        }
    }

    fn change(network: &mut NodeNetwork, change: impl FnOnce(&mut PortObserved)) {
        let segment = network.segments.values_mut().next().unwrap();
        change(segment.ports.values_mut().next().unwrap());
    }

    fn is(network: &NodeNetwork, current: bool) {
        let [tap, _] = taps();
        let segment = ports()[0].segment.netns.clone();
        let wanted = BTreeMap::from([(tap, PortPlace::Plugged { segment, current })]);
        assert_eq!(places(UUID, &ports(), network), wanted);
    }

    #[test]
    fn a_port_is_current_when_all_of_it_is() {
        is(&plugged(), true);
        let changes: [fn(&mut PortObserved); 5] = [
            |port| port.link.as_mut().unwrap().up = false,
            |port| port.link.as_mut().unwrap().master = None,
            |port| port.rules = RulesState::Changed,
            |port| port.rules = RulesState::Applied("another".to_owned()),
            |port| port.dhcp_host = Some("another".to_owned()),
        ];
        for wrong in changes {
            let mut network = plugged();
            change(&mut network, wrong);
            is(&network, false);
        }
    }

    #[test]
    fn a_tap_that_lies_beside_libvirt_is_not_plugged_yet() {
        let [tap, _] = taps();
        let mut network = plugged();
        change(&mut network, |port| port.link = None);
        network.loose_taps.insert(tap.clone());
        let wanted = BTreeMap::from([(tap, PortPlace::Beside)]);
        assert_eq!(places(UUID, &ports(), &network), wanted);
    }

    #[test]
    fn what_is_left_of_a_tap_is_seen() {
        let [tap, _] = taps();
        let mut network = plugged();
        change(&mut network, |port| port.link = None);
        let segment = ports()[0].segment.netns.clone();
        let wanted = BTreeMap::from([(tap, PortPlace::Remains { segment })]);
        assert_eq!(places(UUID, &ports(), &network), wanted);
    }

    #[test]
    fn anothers_taps_are_not_its_own() {
        let another = "00000000-9d1e-4b57-8a53-0d8e35bfb0c1";
        assert!(places(another, &ports(), &plugged()).is_empty());
    }
}
