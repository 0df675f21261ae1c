//! Whom guests reach: neighbours and the world, and nothing of the node or the cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod support;

use support::guest::{Guest, serve};
use support::{ALLOWED, BLOCKED, NODE, WORLD, in_a_node, network, nft, port, segment, sh};

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
            assert!(guest.is_refused("10.0.0.1:53"), "DNS at the gateway");
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
            (plain.subnets[0].gateway, plain.subnets[0].dns) = (None, Vec::new());
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
