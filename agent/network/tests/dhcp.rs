//! DHCP on a real kernel: exactly the allocated pairs, always served, by nobody's leftovers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod support;

use support::guest::Guest;
use support::{dhcp_servers, in_a_node, network, on_a_runtime, port, segment, sh, wait_until};

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
        // Who calls himself another, by that one's client id, stays himself.
        let told = guests[1].dhcp_with("-x 0x3d:01fa163e00001f");
        assert_eq!(told["ip"], "10.0.0.32");
        assert_eq!(guests[0].dhcp()["ip"], "10.0.0.31");
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
                wait_until("it is back", || {
                    let now = dhcp_servers(&segment.netns);
                    now.len() == 1 && now != was
                });
            }
            assert_eq!(guest.dhcp()["ip"], "10.0.0.31");
        },
    );
}

/// An agent in a process of its own: it serves a Segment until it is killed.
#[test]
#[ignore = "another test runs it, inside its node"]
fn an_agent_of_its_own() {
    on_a_runtime(async || {
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
