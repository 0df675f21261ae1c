//! Segments on a real kernel: what guests get, whom they reach, and what is repaired.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod support;

use support::guest::{Guest, serve};
use support::{
    ALLOWED, BLOCKED, NODE, WORLD, dhcp_servers, everything, in_a_node, network, nft, port,
    segment, sh, wait_until,
};

#[test]
fn guests_get_exactly_what_was_allocated() {
    in_a_node("guests_get_exactly_what_was_allocated", async || {
        let (network, segment) = (network(), segment(1));
        network.ensure_segment(&segment).await.unwrap();
        let ports = [31, 32].map(|n| port(&segment, n));
        let guests = ports.each_ref().map(Guest::at);
        for port in &ports {
            network.plug(&segment, port).await.unwrap();
        }
        for (port, guest) in ports.iter().zip(&guests) {
            let told = guest.dhcp();
            assert_eq!(told["ip"], port.ips[0].to_string(), "{told:?}");
            assert_eq!(told["subnet"], "255.255.255.0");
            assert_eq!(told["router"], "10.0.0.1");
            assert_eq!(told["dns"], "192.0.2.53");
            assert_eq!(told["hostname"], port.hostname.to_string());
            assert_eq!(told["mtu"], "1450");
            assert_eq!(told["lease"], "86400");
            guest.configure(port);
        }
        assert!(guests[0].pings("10.0.0.32"), "its neighbour");
        assert!(guests[0].pings("10.0.0.1"), "its gateway");
        // Who has a port, but no address, gets none.
        let mut bare = port(&segment, 33);
        bare.ips.clear();
        let stranger = Guest::at(&bare);
        network.plug(&segment, &bare).await.unwrap();
        assert_eq!(stranger.dhcp().get("ip"), None);
    });
}

#[test]
fn a_freed_address_is_served_to_its_next_holder_at_once() {
    in_a_node(
        "a_freed_address_is_served_to_its_next_holder_at_once",
        async || {
            let (network, segment) = (network(), segment(1));
            network.ensure_segment(&segment).await.unwrap();
            let first = port(&segment, 31);
            let guest = Guest::at(&first);
            network.plug(&segment, &first).await.unwrap();
            assert_eq!(guest.dhcp()["ip"], "10.0.0.31");
            network.unplug(&segment.netns, &first.tap).await.unwrap();
            drop(guest);
            let mut next = port(&segment, 77);
            next.ips.clone_from(&first.ips);
            let guest = Guest::at(&next);
            network.plug(&segment, &next).await.unwrap();
            let told = guest.dhcp();
            assert_eq!(told["ip"], "10.0.0.31");
            assert_eq!(told["hostname"], "vm-77");
        },
    );
}

#[test]
fn what_is_outside_is_reached_as_the_node_and_what_is_inside_not_at_all() {
    in_a_node(
        "what_is_outside_is_reached_as_the_node_and_what_is_inside_not_at_all",
        async || {
            // A service of the cluster behind the node's own address, as kube-proxy makes them.
            nft(
                "table ip kube {\n chain pre {\n type nat hook prerouting priority -100;\n tcp dport 30080 dnat to 192.0.2.1:80\n }\n}\n",
            );
            sh("ip addr add 198.51.100.9/32 dev lo");
            for address in [WORLD, BLOCKED, ALLOWED] {
                serve(Some("world"), &format!("{address}:80"));
            }
            serve(None, "0.0.0.0:22");
            sh("ip addr add 169.254.20.10/32 dev lo");
            let (network, segment) = (network(), segment(1));
            network.ensure_segment(&segment).await.unwrap();
            let port = port(&segment, 31);
            let guest = Guest::at(&port);
            network.plug(&segment, &port).await.unwrap();
            guest.configure(&port);
            assert_eq!(guest.asks("192.0.2.1:80").as_deref(), Some(NODE));
            assert!(guest.pings(WORLD));
            assert_eq!(guest.asks(&format!("{ALLOWED}:80")).as_deref(), Some(NODE));
            assert_eq!(guest.asks(&format!("{BLOCKED}:80")), None);
            let transit = sh("ip -o -4 addr show | grep kx | awk '{print $4}' | cut -d/ -f1");
            let transit = format!("{}:22", transit.trim());
            for address in [
                "192.0.2.2:22",
                "192.0.2.2:30080",
                "198.51.100.9:22",
                "169.254.20.10:22",
                "10.0.0.1:22",
                &transit,
            ] {
                assert_eq!(guest.asks(address), None, "{address}");
            }
            assert!(!guest.pings(NODE));
            let listed = sh("nft list chain ip filter FORWARD");
            assert_eq!(
                listed.matches("comment \"kilonova\"").count(),
                2,
                "{listed}"
            );
        },
    );
}

#[test]
fn the_operators_list_lets_a_segment_reach_the_node_itself() {
    in_a_node(
        "the_operators_list_lets_a_segment_reach_the_node_itself",
        async || {
            sh(&format!("ip addr add {ALLOWED}/32 dev lo"));
            serve(None, "0.0.0.0:53");
            let (network, segment) = (network(), segment(1));
            network.ensure_segment(&segment).await.unwrap();
            let port = port(&segment, 31);
            let guest = Guest::at(&port);
            network.plug(&segment, &port).await.unwrap();
            guest.configure(&port);
            assert!(guest.asks(&format!("{ALLOWED}:53")).is_some());
            assert_eq!(guest.asks(&format!("{NODE}:53")), None);
        },
    );
}

#[test]
fn equal_subnets_of_two_segments_never_meet() {
    in_a_node("equal_subnets_of_two_segments_never_meet", async || {
        let network = network();
        serve(Some("world"), "192.0.2.1:80");
        let segments = [segment(1), segment(2)];
        let mut guests = Vec::new();
        for (segment, n) in segments.iter().zip([31, 32]) {
            network.ensure_segment(segment).await.unwrap();
            for n in [n, 40] {
                let port = port(segment, n);
                let guest = Guest::at(&port);
                network.plug(segment, &port).await.unwrap();
                guest.configure(&port);
                guests.push(guest);
            }
        }
        for pair in guests.chunks(2) {
            assert_eq!(pair[1].asks("192.0.2.1:80").as_deref(), Some(NODE));
            assert!(pair[0].pings("10.0.0.40"));
        }
        assert!(!guests[0].pings("10.0.0.32"));
        assert!(!guests[2].pings("10.0.0.31"));
    });
}

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
fn a_server_that_is_killed_is_back_within_two_seconds() {
    in_a_node(
        "a_server_that_is_killed_is_back_within_two_seconds",
        async || {
            let (network, segment) = (network(), segment(1));
            network.ensure_segment(&segment).await.unwrap();
            let port = port(&segment, 31);
            let guest = Guest::at(&port);
            network.plug(&segment, &port).await.unwrap();
            for _ in 0..3 {
                let was = dhcp_servers(&segment.netns);
                sh(&format!("kill -9 {}", was[0]));
                let since = std::time::Instant::now();
                wait_until("it is back", || {
                    let now = dhcp_servers(&segment.netns);
                    now.len() == 1 && now != was
                });
                assert!(since.elapsed() < std::time::Duration::from_secs(2));
            }
            assert_eq!(guest.dhcp()["ip"], "10.0.0.31");
        },
    );
}

/// An agent in a process of its own: it serves a Segment until it is killed.
#[test]
#[ignore = "another test runs it, inside its node"]
fn an_agent_of_its_own() {
    support::on_a_runtime(async || {
        let (network, segment) = (network(), segment(1));
        network.ensure_segment(&segment).await.unwrap();
        std::future::pending::<()>().await;
    });
}

#[test]
fn servers_end_with_their_agent_and_what_is_left_of_another_is_replaced() {
    in_a_node(
        "servers_end_with_their_agent_and_what_is_left_of_another_is_replaced",
        async || {
            let segment = segment(1);
            let mut agent = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "an_agent_of_its_own"])
                .spawn()
                .unwrap();
            wait_until("it serves", || dhcp_servers(&segment.netns).len() == 1);
            agent.kill().unwrap();
            agent.wait().unwrap();
            wait_until("its server is gone", || {
                dhcp_servers(&segment.netns).is_empty()
            });
            // As one would be that was started just before its agent was killed.
            let (netns, files) = (&segment.netns, "/run/kilonova/segments");
            sh(&format!(
                "ip netns exec {netns} dnsmasq --conf-file={files}/{netns}/dnsmasq.conf 2>/dev/null"
            ));
            let left = dhcp_servers(netns);
            assert_eq!(left.len(), 1);
            let network = network();
            network.resume().await.unwrap();
            let now = dhcp_servers(netns);
            assert_eq!(now.len(), 1);
            assert_ne!(left, now);
            // One of which no agent knows goes with its Segment.
            drop(network);
            wait_until("it is gone", || dhcp_servers(netns).is_empty());
            sh(&format!(
                "ip netns exec {netns} dnsmasq --conf-file={files}/{netns}/dnsmasq.conf 2>/dev/null"
            ));
            support::network().remove_segment(netns).await.unwrap();
            assert!(dhcp_servers(netns).is_empty());
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
fn many_segments_at_once_share_the_node() {
    in_a_node("many_segments_at_once_share_the_node", async || {
        let network = std::sync::Arc::new(network());
        serve(Some("world"), "192.0.2.1:80");
        let tasks: Vec<_> = (1..=12)
            .map(|n| {
                let network = network.clone();
                tokio::spawn(async move { network.ensure_segment(&segment(n)).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let addresses = sh("ip -o -4 addr show | grep -o '100.127[^ ]*' | sort");
        let unique: std::collections::BTreeSet<_> = addresses.lines().collect();
        assert_eq!(unique.len(), 12, "{addresses}");
        let seen = network.observe().await.unwrap();
        assert_eq!(seen.segments.len(), 12);
        for n in [1, 12] {
            let segment = segment(n);
            let port = port(&segment, 31);
            let guest = Guest::at(&port);
            network.plug(&segment, &port).await.unwrap();
            guest.configure(&port);
            assert_eq!(guest.asks("192.0.2.1:80").as_deref(), Some(NODE));
        }
    });
}

#[test]
fn a_plain_segment_has_neighbours_and_no_way_out() {
    in_a_node(
        "a_plain_segment_has_neighbours_and_no_way_out",
        async || {
            let mut plain = segment(1);
            plain.routed = false;
            plain.subnets[0].dns.clear();
            serve(Some("world"), "192.0.2.1:80");
            let network = network();
            network.ensure_segment(&plain).await.unwrap();
            assert_eq!(sh("ip -o link | grep -c kx || true").trim(), "0");
            let ports = [31, 32].map(|n| port(&plain, n));
            let guests = ports.each_ref().map(Guest::at);
            for (port, guest) in ports.iter().zip(&guests) {
                network.plug(&plain, port).await.unwrap();
                let told = guest.dhcp();
                assert_eq!(told["ip"], port.ips[0].to_string());
                assert_eq!((told.get("router"), told.get("dns")), (None, None));
                guest.configure(port);
            }
            assert!(guests[0].pings("10.0.0.32"));
            assert_eq!(guests[0].asks("192.0.2.1:80"), None);
            assert_eq!(guests[0].asks(&format!("{NODE}:80")), None);
            network.remove_segment(&plain.netns).await.unwrap();
        },
    );
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
