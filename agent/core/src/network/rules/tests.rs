//! The rule sets as they are, word by word; and what is read of nft's listings.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::network::tests::{port, segment, vlan};
use crate::network::{RulesState, SegmentDesired};
use serde_json::json;

fn reach() -> Reach {
    Reach {
        blocked: vec![
            "10.96.0.0/12".parse().unwrap(),
            "192.0.2.0/24".parse().unwrap(),
            "192.0.2.128/25".parse().unwrap(),
        ],
        allowed: vec!["192.0.2.53/32".parse().unwrap()],
        transit: "100.127.0.0/16".parse().unwrap(),
    }
}

#[test]
fn the_rules_of_a_routed_segment() {
    let expected = "\
add table bridge kilonova
add map bridge kilonova ports { type ifname : verdict; }
add chain bridge kilonova ingress { type filter hook prerouting priority -300; policy drop; }
flush chain bridge kilonova ingress
add chain bridge kilonova egress { type filter hook postrouting priority -300; policy accept; }
flush chain bridge kilonova egress
add chain bridge kilonova beyond
flush chain bridge kilonova beyond
add rule bridge kilonova ingress iifname vmap @ports
add table inet kilonova
delete table inet kilonova
table inet kilonova {
\tset subnets {
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 10.0.0.0/24 }
\t}
\tset allowed {
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 192.0.2.53/32 }
\t}
\tset blocked {
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 0.0.0.0/8, 10.96.0.0/12, 100.127.0.0/16, 127.0.0.0/8, 169.254.0.0/16, 192.0.2.0/24, 224.0.0.0/3 }
\t}
\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t\tct state established,related accept
\t\tiifname \"lo\" accept
\t\tiifname \"br0\" udp sport 68 udp dport 67 accept
\t\tiifname \"br0\" icmp type echo-request accept
\t\tiifname \"br0\" meta l4proto { tcp, udp } th dport 53 counter reject
\t\tcounter drop
\t}
\tchain forward {
\t\ttype filter hook forward priority filter; policy drop;
\t\tiifname \"br0\" oifname \"br0\" accept
\t\tct state established,related accept
\t\tiifname \"br0\" oifname \"out0\" ip saddr @subnets jump outward
\t\tcounter drop
\t}
\tchain outward {
\t\tip daddr @allowed accept
\t\tip daddr @blocked counter reject with icmp admin-prohibited
\t\taccept
\t}
\tchain postrouting {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\toifname \"out0\" ip saddr @subnets masquerade
\t}
}
";
    assert_eq!(segment_rules(&segment(), &reach()), expected);
}

#[test]
fn the_trial_says_all_that_rules_say() {
    let text = trial(&reach());
    for part in [
        "flush chain bridge kilonova beyond\nadd rule bridge kilonova beyond",
        "iifname vmap @ports",
        "reject with icmp admin-prohibited",
        "oifname \"out0\" ip saddr @subnets masquerade",
        "arp saddr ether !=",
        "jump p_kt",
        "fib daddr type",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn a_plain_segment_has_no_way_out_and_no_gateway() {
    let mut plain = segment();
    plain.routed = false;
    let text = segment_rules(&plain, &reach());
    assert!(text.contains("dport 67 accept") && !text.contains("icmp"));
    assert!(!text.contains("masquerade") && !text.contains("jump outward"));
    plain.dhcp = false;
    let text = segment_rules(&plain, &reach());
    assert!(!text.contains("dport 67 accept") && !text.contains("icmp"));
}

#[test]
fn what_every_node_answers_itself_passes_no_uplink() {
    let rules = |segment: &SegmentDesired| -> Vec<String> {
        let text = segment_rules(segment, &reach());
        let lines = text.lines().filter(|line| line.starts_with("add rule"));
        lines.map(str::to_owned).collect()
    };
    let mut routed = segment();
    assert_eq!(rules(&routed).len(), 1, "nothing of an uplink without one");
    routed.uplink = Some(vlan(104));
    let expected = "\
add rule bridge kilonova beyond ether type != { ip, arp, 0x8035 } counter drop
add rule bridge kilonova beyond ether saddr fa:16:3e:00:00:01 counter drop
add rule bridge kilonova beyond ether daddr fa:16:3e:00:00:01 counter drop
add rule bridge kilonova beyond ether type arp arp saddr ip 10.0.0.1 counter drop
add rule bridge kilonova beyond ether type arp arp daddr ip 10.0.0.1 counter drop
add rule bridge kilonova beyond ether type ip udp dport { 67, 68 } counter drop
add rule bridge kilonova ingress iifname \"up0\" jump beyond
add rule bridge kilonova ingress iifname \"up0\" accept
add rule bridge kilonova egress oifname \"up0\" jump beyond
add rule bridge kilonova ingress iifname vmap @ports";
    assert_eq!(rules(&routed).join("\n"), expected);
    let mut plain = routed;
    (plain.routed, plain.dhcp) = (false, false);
    let text = rules(&plain).join("\n");
    assert!(!text.contains("arp arp") && !text.contains("udp"), "{text}");
}

#[test]
fn the_rules_of_a_port() {
    let tap = port().tap;
    let chain = format!("bridge kilonova p_{tap}");
    let expected = format!(
        "\
add table bridge kilonova
add map bridge kilonova ports {{ type ifname : verdict; }}
add chain {chain}
flush chain {chain}
add rule {chain} ether saddr != fa:16:3e:00:03:01 counter drop
add rule {chain} ether type arp arp saddr ether != fa:16:3e:00:03:01 counter drop
add rule {chain} ether type 0x8035 accept
add rule {chain} ether type arp arp operation request arp saddr ip 0.0.0.0 accept
add rule {chain} ether type ip udp sport 67 counter drop
add rule {chain} ether type ip ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
add rule {chain} ether type arp arp saddr ip {{ 10.0.0.31 }} accept
add rule {chain} ether type ip ip saddr {{ 10.0.0.31 }} accept
add rule {chain} counter drop
add element bridge kilonova ports {{ \"{tap}\" : jump p_{tap} }}
"
    );
    assert_eq!(port_rules(&port()), expected);
}

#[test]
fn a_port_without_addresses_sends_no_packet_but_for_dhcp() {
    let mut bare = port();
    bare.ips.clear();
    let text = port_rules(&bare);
    assert!(!text.contains("{ }") && !text.contains("ip saddr {"));
}

#[test]
fn the_rules_of_the_node() {
    let expected = "\
add table inet kilonova
delete table inet kilonova
table inet kilonova {
\tset allowed {
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 192.0.2.53/32 }
\t}
\tchain prerouting {
\t\ttype filter hook prerouting priority mangle; policy accept;
\t\tiifname \"kx*\" meta nfproto ipv6 counter drop
\t\tiifname \"kx*\" fib daddr type { local, broadcast, anycast, multicast } ip daddr != @allowed counter drop
\t}
\tchain forward {
\t\ttype filter hook forward priority filter; policy accept;
\t\tiifname \"kx*\" oifname \"kx*\" counter drop
\t\toifname \"kx*\" ct state established,related accept
\t\toifname \"kx*\" counter drop
\t}
\tchain postrouting {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\tiifname \"kx*\" oifname != \"kx*\" masquerade
\t}
}
";
    assert_eq!(node_rules(&reach()), expected);
}

/// A listing with one port, as nft 1.0.6 writes it.
fn listing(packets: u64, handle: u64, verdict: &str) -> String {
    json!({"nftables": [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "bridge", "name": "kilonova", "handle": 1}},
        {"map": {"family": "bridge", "name": "ports", "table": "kilonova", "type": "ifname",
                 "handle": 2, "map": "verdict", "elem": [["kta", {"jump": {"target": "p_kta"}}]]}},
        {"chain": {"family": "bridge", "table": "kilonova", "name": "ingress", "handle": 3}},
        {"chain": {"family": "bridge", "table": "kilonova", "name": "p_kta", "handle": handle}},
        {"rule": {"family": "bridge", "table": "kilonova", "chain": "p_kta", "handle": 9,
                  "expr": [{"counter": {"packets": packets, "bytes": 1}}, {verdict: null}]}},
        {"table": {"family": "ip", "name": "other", "handle": 1}},
    ]})
    .to_string()
}

#[test]
fn a_listing_differs_only_when_a_rule_does() {
    let before = Listing::parse(&listing(0, 4, "drop")).unwrap();
    assert_eq!(Listing::parse(&listing(7, 12, "drop")).unwrap(), before);
    let after = Listing::parse(&listing(0, 4, "accept")).unwrap();
    assert_eq!(after.base, before.base);
    assert_ne!(after.ports, before.ports);
    assert_eq!(before.ports.len(), 1);
}

#[test]
fn a_port_that_left_the_map_has_changed_and_the_rest_has_not() {
    let whole = listing(0, 4, "drop");
    let out = whole.replace(r#"["kta",{"jump":{"target":"p_kta"}}]"#, "");
    assert_ne!(out, whole);
    let (whole, out) = (
        Listing::parse(&whole).unwrap(),
        Listing::parse(&out).unwrap(),
    );
    assert_eq!(whole.base, out.base);
    assert_ne!(whole.ports, out.ports);
}

#[test]
fn a_flushed_netns_has_nothing() {
    let listing = Listing::parse(r#"{"nftables": [{"metainfo": {}}]}"#).unwrap();
    assert_eq!(listing, Listing::default());
    assert!(Listing::parse("").is_err());
    assert!(Listing::parse("{}").is_err());
}

#[test]
fn the_state_of_rules() {
    let record = Record {
        text: "text".to_owned(),
        listed: "a".to_owned(),
    };
    let (a, b) = ("a".to_owned(), "b".to_owned());
    assert_eq!(Listing::state(Some(&record), None), RulesState::Absent);
    assert_eq!(
        Listing::state(Some(&record), Some(&a)),
        RulesState::Applied(digest("text"))
    );
    assert_eq!(Listing::state(Some(&record), Some(&b)), RulesState::Changed);
    assert_eq!(Listing::state(None, Some(&a)), RulesState::Changed);
}

#[test]
fn chains_of_others_that_drop_are_found() {
    let chain = |family: &str, table: &str, hook: &str, policy: &str| {
        json!({"chain": {"family": family, "table": table, "name": "FORWARD", "type": "filter",
                         "hook": hook, "prio": 0, "policy": policy}})
    };
    let listing = json!({"nftables": [
        chain("ip", "filter", "forward", "drop"),
        chain("ip", "filter", "input", "drop"),
        chain("ip6", "filter", "forward", "drop"),
        chain("inet", "firewalld", "forward", "accept"),
        chain("inet", "kilonova", "forward", "accept"),
        {"chain": {"family": "ip", "table": "filter", "name": "KUBE-FORWARD"}},
    ]})
    .to_string();
    let chains = forward_chains(&listing).unwrap();
    let found: Vec<_> = chains
        .iter()
        .map(|c| (c.table.as_str(), c.policy_drop))
        .collect();
    assert_eq!(found, [("filter", true), ("firewalld", false)]);
    let by = |key: &str, right: &str| json!({"match": {"op": "==", "left": {"meta": {"key": key}}, "right": right}});
    // The second as nft shows it after iptables has saved and restored it.
    let comment = json!({"xt": {"type": "match", "name": "comment"}});
    let rules = |last: serde_json::Value| {
        json!({"nftables": [
            {"rule": {"handle": 3, "expr": [by("iifname", "eth*"), {"accept": null}]}},
            {"rule": {"handle": 4, "comment": "kilonova", "expr": [by("iifname", "kx*"), {"accept": null}]}},
            {"rule": {"handle": 5, "expr": [by("oifname", "kx*"), comment, {"accept": null}]}},
            {"rule": {"handle": 6, "expr": last}},
        ]})
        .to_string()
    };
    let refuses = rules(json!([{"counter": null}, {"reject": {"type": "icmpx"}}]));
    let returns = rules(json!([{"match": {}}, {"drop": null}]));
    assert!(chains[0].drops(&returns).unwrap());
    assert!(chains[1].drops(&refuses).unwrap());
    assert!(!chains[1].drops(&returns).unwrap());
    assert_eq!(chains[1].ours(&refuses).unwrap(), [4, 5]);
}

#[test]
fn a_strangers_chain_name_stays_a_name() {
    let chain = ForwardChain {
        family: "ip".to_owned(),
        table: "x\"}}, {\"flush\": {\"ruleset\": null".to_owned(),
        name: "FORWARD".to_owned(),
        policy_drop: true,
    };
    let commands: serde_json::Value = serde_json::from_str(&accept_forward(&chain, &[7])).unwrap();
    let commands = commands["nftables"].as_array().unwrap();
    assert_eq!(commands.len(), 3);
    assert_eq!(commands[0]["delete"]["rule"]["handle"], 7);
    for command in &commands[1..] {
        assert_eq!(command["insert"]["rule"]["table"], chain.table.as_str());
    }
}
