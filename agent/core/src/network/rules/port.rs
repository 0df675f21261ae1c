//! The rules of one port: it sends as itself, or not at all.

use super::{PORTS, TABLE};
use crate::network::{LinkName, PortDesired};
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Prefix of the ports' chains: what follows is the tap's name.
pub(super) const CHAIN_PREFIX: &str = "p_";

/// The rules of a port: its chain, and its place in the verdict map.
///
/// What passes: ARP and IPv4 with the port's own MAC and addresses; RARP, by which a guest that has
/// moved announces itself; a DHCP client's first words. What does not: any other sender, tagged
/// frames, a DHCP server's answers, IPv6 (router advertisements with it).
#[must_use]
pub fn port_rules(port: &PortDesired) -> String {
    let (tap, mac) = (&port.tap, port.mac);
    let chain = format!("bridge {TABLE} {CHAIN_PREFIX}{tap}");
    let mut text = format!(
        "add table bridge {TABLE}\n\
         add map bridge {TABLE} {PORTS} {{ type ifname : verdict; }}\n\
         add chain {chain}\n\
         flush chain {chain}\n"
    );
    let mut rule = |rule: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "add rule {chain} {rule}");
    };
    rule(&format!("ether saddr != {mac} counter drop"));
    rule(&format!(
        "ether type arp arp saddr ether != {mac} counter drop"
    ));
    rule("ether type 0x8035 accept");
    // An address probe (RFC 5227) has no sender.
    rule("ether type arp arp operation request arp saddr ip 0.0.0.0 accept");
    rule("ether type ip udp sport 67 counter drop");
    rule(
        "ether type ip ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept",
    );
    if !port.ips.is_empty() {
        let own = addresses(&port.ips);
        rule(&format!("ether type arp arp saddr ip {own} accept"));
        rule(&format!("ether type ip ip saddr {own} accept"));
    }
    rule("counter drop");
    let _ = writeln!(
        text,
        "add element bridge {TABLE} {PORTS} {{ \"{tap}\" : jump {CHAIN_PREFIX}{tap} }}"
    );
    text
}

/// Takes a port's rules out, where there are any: what comes through its tap is dropped then.
#[must_use]
pub fn withdraw_port_rules(tap: &LinkName) -> String {
    let chain = format!("bridge {TABLE} {CHAIN_PREFIX}{tap}");
    // nft has no "delete if there": what is added first is there to be deleted.
    format!(
        "add table bridge {TABLE}\n\
         add map bridge {TABLE} {PORTS} {{ type ifname : verdict; }}\n\
         add chain {chain}\n\
         add element bridge {TABLE} {PORTS} {{ \"{tap}\" : jump {CHAIN_PREFIX}{tap} }}\n\
         delete element bridge {TABLE} {PORTS} {{ \"{tap}\" }}\n\
         flush chain {chain}\n\
         delete chain {chain}\n"
    )
}

/// An anonymous set of addresses, each once.
fn addresses(ips: &[Ipv4Addr]) -> String {
    let unique: std::collections::BTreeSet<_> = ips.iter().collect();
    let texts: Vec<_> = unique.iter().map(ToString::to_string).collect();
    format!("{{ {} }}", texts.join(", "))
}
