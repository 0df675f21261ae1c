//! All that the rules say, in one text: to ask the kernel whether it can do it.

use super::{Reach, node_rules, port_rules, segment_rules};
use crate::network::{Hostname, LinkName, Mac, PortDesired, SegmentDesired};
use kilonova_crds::node::{SegmentNetwork, SegmentSpec, SegmentSubnet};
use kilonova_crds::v1alpha1::SegmentType;
use std::net::Ipv4Addr;

/// No object has such a uid, and no link such a name.
const UID: &str = "00000000-0000-0000-0000-000000000000";
/// For documentation (RFC 5737).
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The rules of a Segment that has all that one can have, of a port in it, and of the node. For
/// `nft --check` alone.
#[must_use]
pub fn trial(reach: &Reach) -> String {
    // Empty would be what the test below refuses.
    sample().map_or_else(String::new, |(segment, port)| {
        let (segment, port) = (segment_rules(&segment, reach), port_rules(&port));
        format!("{segment}{port}{}", node_rules(reach))
    })
}

fn sample() -> Option<(SegmentDesired, PortDesired)> {
    let segment = SegmentSpec {
        network: SegmentNetwork {
            namespace: "kilonova".to_owned(),
            name: "trial".to_owned(),
            uid: UID.to_owned(),
        },
        type_: SegmentType::Vlan,
        id: Some(1),
        physical_network: Some("trial".to_owned()),
        mtu: 1500,
        routed: true,
        dhcp: true,
        gateway_mac: "fa:16:3e:00:00:01".to_owned(),
        subnets: vec![SegmentSubnet {
            cidr: "192.0.2.0/24".to_owned(),
            gateway: Some(GATEWAY.to_string()),
            dns: Vec::new(),
            routes: Vec::new(),
        }],
    };
    let segment = SegmentDesired::from_spec(&segment).ok()?;
    let port = PortDesired {
        tap: LinkName::tap(UID, 0),
        segment: segment.netns.clone(),
        mac: Mac::new([0xfa, 0x16, 0x3e, 0, 0, 2]).ok()?,
        ips: vec![GATEWAY],
        hostname: Hostname::new("trial").ok()?,
        mtu: segment.mtu,
        owner: String::new(),
    };
    Some((segment, port))
}
