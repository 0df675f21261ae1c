//! The rules of a Segment's netns: who may send at all, and where to.

use super::{BEYOND, EGRESS, INGRESS, PORTS, Reach, TABLE, prefix_set};
use crate::network::{BRIDGE, OUTWARD, SegmentDesired, UPLINK};
use ipnet::Ipv4Net;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// What is never reached through a gateway, whoever asks: "this network", loopback, link-local,
/// multicast and reserved (RFC 6890).
const NEVER: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// The rules of a Segment's netns but for its ports'.
///
/// Bridge family: a frame enters through a port that has rules, or over the uplink, or not at all;
/// the ports' chains and their places in the map are left as they are. What is every node's own (the
/// gateway and DHCP) passes the uplink neither way. The family `inet`: nothing reaches the gateway
/// but DHCP and echo requests; nothing leaves but from the Segment's own subnets, to what is not
/// blocked; answers come back.
#[must_use]
pub fn segment_rules(segment: &SegmentDesired, reach: &Reach) -> String {
    let mut text = format!(
        "add table bridge {TABLE}\n\
         add map bridge {TABLE} {PORTS} {{ type ifname : verdict; }}\n\
         add chain bridge {TABLE} {INGRESS} {{ type filter hook prerouting priority -300; policy drop; }}\n\
         flush chain bridge {TABLE} {INGRESS}\n\
         add chain bridge {TABLE} {EGRESS} {{ type filter hook postrouting priority -300; policy accept; }}\n\
         flush chain bridge {TABLE} {EGRESS}\n\
         add chain bridge {TABLE} {BEYOND}\n\
         flush chain bridge {TABLE} {BEYOND}\n"
    );
    if segment.uplink.is_some() {
        beyond(&mut text, segment);
    }
    let _ = write!(
        text,
        "add rule bridge {TABLE} {INGRESS} iifname vmap @{PORTS}\n\
         add table inet {TABLE}\n\
         delete table inet {TABLE}\n\
         table inet {TABLE} {{\n"
    );
    if segment.routed {
        let subnets: Vec<_> = segment.subnets.iter().map(|subnet| subnet.cidr).collect();
        prefix_set(&mut text, "subnets", &subnets);
        prefix_set(&mut text, "allowed", &reach.allowed);
        prefix_set(&mut text, "blocked", &blocked(reach));
    }
    input(&mut text, segment);
    forward(&mut text, segment);
    text.push_str("}\n");
    text
}

/// Everything that is out of reach.
fn blocked(reach: &Reach) -> Vec<Ipv4Net> {
    let mut all = reach.blocked.clone();
    all.push(reach.transit);
    all.extend(NEVER);
    all
}

/// What passes between the Segment here and on other nodes: ARP, IPv4, and RARP, by which a guest
/// that has moved announces itself. What does not: tagged frames, everything to and from the
/// bridge's own MAC (the gateway's, the same on every node), and, of what every node answers itself,
/// ARP about the gateway, and DHCP. Where there is no DHCP, a server somewhere else may answer.
fn beyond(text: &mut String, segment: &SegmentDesired) {
    let mac = segment.gateway_mac;
    let mut rule = |chain: &str, rule: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "add rule bridge {TABLE} {chain} {rule}");
    };
    rule(BEYOND, "ether type != { ip, arp, 0x8035 } counter drop");
    rule(BEYOND, &format!("ether saddr {mac} counter drop"));
    rule(BEYOND, &format!("ether daddr {mac} counter drop"));
    let gateways = segment.subnets.iter().filter_map(|subnet| subnet.gateway);
    for gateway in gateways.filter(|_| segment.routed) {
        for field in ["saddr", "daddr"] {
            let about = format!("ether type arp arp {field} ip {gateway} counter drop");
            rule(BEYOND, &about);
        }
    }
    if segment.dhcp {
        rule(BEYOND, "ether type ip udp dport { 67, 68 } counter drop");
    }
    rule(INGRESS, &format!("iifname \"{UPLINK}\" jump {BEYOND}"));
    rule(INGRESS, &format!("iifname \"{UPLINK}\" accept"));
    rule(EGRESS, &format!("oifname \"{UPLINK}\" jump {BEYOND}"));
}

fn input(text: &mut String, segment: &SegmentDesired) {
    text.push_str(
        "\tchain input {\n\
         \t\ttype filter hook input priority filter; policy drop;\n\
         \t\tct state established,related accept\n\
         \t\tiifname \"lo\" accept\n",
    );
    if segment.dhcp {
        let _ = writeln!(
            text,
            "\t\tiifname \"{BRIDGE}\" udp sport 68 udp dport 67 accept"
        );
    }
    if segment.routed {
        // No DNS server answers at the gateway; a guest that asks it learns that at once.
        let _ = write!(
            text,
            "\t\tiifname \"{BRIDGE}\" icmp type echo-request accept\n\
             \t\tiifname \"{BRIDGE}\" meta l4proto {{ tcp, udp }} th dport 53 counter reject\n"
        );
    }
    text.push_str("\t\tcounter drop\n\t}\n");
}

fn forward(text: &mut String, segment: &SegmentDesired) {
    text.push_str(
        "\tchain forward {\n\
         \t\ttype filter hook forward priority filter; policy drop;\n",
    );
    if !segment.routed {
        text.push_str("\t\tcounter drop\n\t}\n");
        return;
    }
    // Between two subnets of one Segment; and, should the kernel ever show bridged frames here
    // (br_netfilter, loaded later), between two ports.
    let _ = write!(
        text,
        "\t\tiifname \"{BRIDGE}\" oifname \"{BRIDGE}\" accept\n\
         \t\tct state established,related accept\n\
         \t\tiifname \"{BRIDGE}\" oifname \"{OUTWARD}\" ip saddr @subnets jump outward\n\
         \t\tcounter drop\n\
         \t}}\n\
         \tchain outward {{\n\
         \t\tip daddr @allowed accept\n\
         \t\tip daddr @blocked counter reject with icmp admin-prohibited\n\
         \t\taccept\n\
         \t}}\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\toifname \"{OUTWARD}\" ip saddr @subnets masquerade\n\
         \t}}\n"
    );
}
