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
