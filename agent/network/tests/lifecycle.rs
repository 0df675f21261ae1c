//! Segments and ports through damage, restarts and removal, on a real kernel.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod support;

use support::guest::{Guest, serve};
use support::{NODE, dhcp_servers, everything, in_a_node, network, port, segment, sh, wait_until};

#[test]
fn whatever_others_break_is_repaired() {
    in_a_node("whatever_others_break_is_repaired", async || {
        let (network, segment) = (network(), segment(1));
        serve(Some("world"), "192.0.2.1:80");
        network.ensure_segment(&segment).await.unwrap();
        let ports = [31, 32].map(|n| port(&segment, n));
        let guests = ports.each_ref().map(Guest::at);
        for (port, guest) in ports.iter().zip(&guests) {
            network.plug(&segment, port).await.unwrap();
            guest.configure(port);
        }
        let inside = format!("ip netns exec {}", segment.netns);
        let tap = &ports[0].tap;
        for damage in [
            format!("{inside} nft flush ruleset"),
            format!("{inside} nft flush chain bridge kilonova p_{tap}"),
            format!("{inside} nft delete table inet kilonova"),
            format!("{inside} ip link del br0"),
            format!("{inside} ip link set br0 down"),
            format!("{inside} ip link set {tap} nomaster"),
            format!("{inside} ip link del out0"),
            format!("{inside} ip route del default"),
            format!("{inside} ip addr flush dev br0"),
            format!("{inside} ip addr flush dev out0"),
            format!("{inside} sysctl -qw net.ipv4.ip_forward=0"),
            format!(
                "{inside} sh -c 'for f in /proc/sys/net/bridge/bridge-nf-call-*; do echo 1 > $f; done'"
            ),
            "nft delete table inet kilonova".to_owned(),
            "nft flush chain ip filter FORWARD".to_owned(),
            "sysctl -qw net.ipv4.ip_forward=0".to_owned(),
        ] {
            sh(&damage);
            network.ensure_segment(&segment).await.unwrap();
            assert!(guests[0].pings("10.0.0.32"), "neighbours after: {damage}");
            let seen = guests[1].asks("192.0.2.1:80");
            assert_eq!(seen.as_deref(), Some(NODE), "outside after: {damage}");
            let before = everything();
            network.ensure_segment(&segment).await.unwrap();
            assert_eq!(before, everything(), "still at work after: {damage}");
            sh(&format!("ip -n {} addr flush dev eth0", guests[0].netns));
            assert_eq!(guests[0].dhcp()["ip"], "10.0.0.31", "DHCP after: {damage}");
            guests[0].configure(&ports[0]);
        }
    });
}

#[test]
fn a_new_agent_leaves_what_runs_as_it_is_and_serves_again() {
    in_a_node(
        "a_new_agent_leaves_what_runs_as_it_is_and_serves_again",
        async || {
            let (old, segment) = (network(), segment(1));
            old.ensure_segment(&segment).await.unwrap();
            let port = port(&segment, 31);
            let guest = Guest::at(&port);
            old.plug(&segment, &port).await.unwrap();
            assert_eq!(guest.dhcp()["ip"], "10.0.0.31");
            let rules = format!("ip netns exec {} nft -a list ruleset", segment.netns);
            let links = format!("ip -n {} -o link", segment.netns);
            let before = (sh(&rules), sh(&links), dhcp_servers(&segment.netns));
            assert_eq!(before.2.len(), 1);
            drop(old);
            wait_until("the old agent's server is gone", || {
                dhcp_servers(&segment.netns).is_empty()
            });
            let new = network();
            new.resume().await.unwrap();
            assert_eq!(dhcp_servers(&segment.netns).len(), 1);
            assert_eq!(guest.dhcp()["ip"], "10.0.0.31");
            new.ensure_segment(&segment).await.unwrap();
            new.plug(&segment, &port).await.unwrap();
            let strip = |text: &str| {
                let mut words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
                for at in 0..words.len().saturating_sub(1) {
                    if words[at] == "packets" || words[at] == "bytes" {
                        words[at + 1].clear();
                    }
                }
                words.join(" ")
            };
            assert_eq!(strip(&before.0), strip(&sh(&rules)));
            assert_eq!(before.1, sh(&links));
            let seen = new.observe().await.unwrap();
            let seen = &seen.segments[&segment.netns];
            assert_eq!(seen.network.as_ref(), Some(&segment.network));
            assert_eq!(seen.plugged().collect::<Vec<_>>(), [&port.tap]);
        },
    );
}

#[test]
fn what_was_cut_off_is_finished_or_removed() {
    in_a_node("what_was_cut_off_is_finished_or_removed", async || {
        let (network, segment) = (network(), segment(1));
        // A file, and no namespace on it: the making was cut off, or the unmounting.
        let file = format!("/run/netns/{}", segment.netns);
        std::fs::write(&file, "").unwrap();
        let seen = network.observe().await.unwrap();
        assert_eq!(seen.segments[&segment.netns].network, None);
        network.ensure_segment(&segment).await.unwrap();
        let port = port(&segment, 31);
        let guest = Guest::at(&port);
        network.plug(&segment, &port).await.unwrap();
        assert_eq!(guest.dhcp()["ip"], "10.0.0.31");
        // Someone removes the netns under everything.
        sh(&format!("ip netns del {}", segment.netns));
        network.ensure_segment(&segment).await.unwrap();
        drop(guest);
        let guest = Guest::at(&port);
        network.plug(&segment, &port).await.unwrap();
        assert_eq!(guest.dhcp()["ip"], "10.0.0.31");
        network.remove_segment(&segment.netns).await.unwrap();
        std::fs::write(&file, "").unwrap();
        network.remove_segment(&segment.netns).await.unwrap();
        assert!(!std::fs::exists(&file).unwrap());
    });
}

#[test]
fn flows_go_on_while_rules_are_put_in_again() {
    in_a_node("flows_go_on_while_rules_are_put_in_again", async || {
        let (network, mut segment) = (network(), segment(1));
        network.ensure_segment(&segment).await.unwrap();
        let port = port(&segment, 31);
        let guest = Guest::at(&port);
        network.plug(&segment, &port).await.unwrap();
        guest.configure(&port);
        let mut flow = guest.flow("192.0.2.1:7");
        assert!(flow.echoes());
        sh(&format!(
            "ip netns exec {} nft flush ruleset; nft delete table inet kilonova",
            segment.netns
        ));
        network.ensure_segment(&segment).await.unwrap();
        assert!(flow.echoes(), "after the rules were gone");
        segment.subnets[0].dns.clear();
        network.ensure_segment(&segment).await.unwrap();
        network.plug(&segment, &port).await.unwrap();
        assert!(flow.echoes(), "after the Segment was changed");
        assert_eq!(guest.dhcp().get("dns"), None);
    });
}

#[test]
fn nothing_is_left_behind() {
    in_a_node("nothing_is_left_behind", async || {
        sh("sysctl -qw net.ipv4.ip_forward=1; mkdir -p /run/kilonova/segments");
        let network = network();
        // The first namespace makes the directory a mount, which stays.
        sh("ip netns add once && ip netns del once");
        let before = everything();
        let segments = [segment(1), segment(2)];
        for segment in &segments {
            network.ensure_segment(segment).await.unwrap();
            let port = port(segment, 31);
            network.make_tap(&port).await.unwrap();
            network.plug(segment, &port).await.unwrap();
        }
        let port = port(&segments[0], 31);
        network.unplug(&segments[0].netns, &port.tap).await.unwrap();
        network.remove_segment(&segments[0].netns).await.unwrap();
        let listed = sh("nft list ruleset");
        assert!(
            listed.contains("comment \"kilonova\""),
            "the other one leads out still"
        );
        // With its port in it.
        network.remove_segment(&segments[1].netns).await.unwrap();
        assert_eq!(before, everything());
        // And once more, from nothing.
        network.unplug(&segments[0].netns, &port.tap).await.unwrap();
        network.remove_segment(&segments[0].netns).await.unwrap();
        assert_eq!(before, everything());
    });
}

#[test]
fn a_tap_is_made_anew_wherever_its_last_one_is() {
    in_a_node("a_tap_is_made_anew_wherever_its_last_one_is", async || {
        let (network, segment) = (network(), segment(1));
        let port = port(&segment, 31);
        network.make_tap(&port).await.unwrap();
        let error = network.plug(&segment, &port).await.unwrap_err();
        assert!(error.to_string().contains("no Segment"), "{error}");
        network.ensure_segment(&segment).await.unwrap();
        network.make_tap(&port).await.unwrap();
        let shown = sh(&format!("ip -d link show {}", port.tap));
        assert!(
            shown.contains("mtu 1450") && shown.contains("vnet_hdr on"),
            "{shown}"
        );
        assert!(shown.contains("persist on") && shown.contains("alias kilonova port team-a/vm-31"));
        network.plug(&segment, &port).await.unwrap();
        let inside = format!("ip -n {} -o link show {}", segment.netns, port.tap);
        assert!(sh(&inside).contains("master br0"));
        network.make_tap(&port).await.unwrap();
        let seen = network.observe().await.unwrap();
        assert!(seen.loose_taps.contains(&port.tap));
        assert_eq!(seen.segments[&segment.netns].plugged().count(), 0);
        network.plug(&segment, &port).await.unwrap();
        network.unplug(&segment.netns, &port.tap).await.unwrap();
        let error = network.plug(&segment, &port).await.unwrap_err();
        assert!(error.to_string().contains("no tap"), "{error}");
    });
}
