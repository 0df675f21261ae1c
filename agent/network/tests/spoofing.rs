//! A guest that lies: what it sends as somebody else reaches nobody.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;
use support::frames::{BROADCAST, Wire, arp, other, tagged_udp, udp};
use support::guest::Guest;
use support::{in_a_node, network, port, segment, sh, wait_until};

const LIAR: [u8; 6] = [0xfa, 0x16, 0x3e, 0, 0, 31];
const GATEWAY: [u8; 6] = [0xfa, 0x16, 0x3e, 0xff, 0, 1];
const LIAR_IP: [u8; 4] = [10, 0, 0, 31];
const OTHER_IP: [u8; 4] = [10, 0, 0, 32];

#[test]
fn a_guest_sends_as_itself_or_not_at_all() {
    in_a_node("a_guest_sends_as_itself_or_not_at_all", async || {
        let (network, segment) = (network(), segment(1));
        network.ensure_segment(&segment).await.unwrap();
        let ports = [31, 32].map(|n| port(&segment, n));
        let guests = ports.each_ref().map(Guest::at);
        for port in &ports {
            network.plug(&segment, port).await.unwrap();
        }
        let [liar, witness] = guests.each_ref().map(|guest| Wire::at(&guest.netns));
        let passes = [
            ("ARP", arp(LIAR, 1, (LIAR, LIAR_IP), b"mark-00")),
            ("an ARP probe", arp(LIAR, 1, (LIAR, [0; 4]), b"mark-01")),
            ("a packet", udp(LIAR, LIAR_IP, (5000, 5000), b"mark-02")),
            ("a DHCP client", udp(LIAR, [0; 4], (68, 67), b"mark-03")),
            ("RARP", other(BROADCAST, LIAR, 0x8035, b"mark-04")),
        ];
        let dropped = [
            (
                "another's MAC",
                udp(GATEWAY, LIAR_IP, (5000, 5000), b"mark-10"),
            ),
            (
                "another's IP",
                udp(LIAR, OTHER_IP, (5000, 5000), b"mark-11"),
            ),
            ("no IP", udp(LIAR, [0; 4], (5000, 5000), b"mark-12")),
            (
                "another's IP in ARP",
                arp(LIAR, 2, (LIAR, OTHER_IP), b"mark-13"),
            ),
            (
                "another's MAC in ARP",
                arp(LIAR, 2, (GATEWAY, LIAR_IP), b"mark-14"),
            ),
            (
                "an answer from nobody",
                arp(LIAR, 2, (LIAR, [0; 4]), b"mark-15"),
            ),
            ("a DHCP server", udp(LIAR, LIAR_IP, (67, 68), b"mark-16")),
            (
                "a DHCP server without an address",
                udp(LIAR, [0; 4], (67, 68), b"mark-17"),
            ),
            ("IPv6", other(BROADCAST, LIAR, 0x86dd, b"mark-18")),
            (
                "a tagged packet",
                tagged_udp(LIAR, LIAR_IP, (5000, 5000), b"mark-19"),
            ),
            (
                "RARP as another",
                other(BROADCAST, GATEWAY, 0x8035, b"mark-20"),
            ),
            (
                "an unknown protocol",
                other(BROADCAST, LIAR, 0x88b5, b"mark-21"),
            ),
        ];
        // A link that was just plugged forwards when the kernel has noticed that it is up.
        wait_until("the ports forward", || {
            liar.send(&udp(LIAR, LIAR_IP, (5000, 5000), b"mark-98"));
            witness.sees(b"mark-98", Duration::from_millis(50))
        });
        for (what, frame) in &passes {
            liar.send(frame);
            let mark = &frame[frame.windows(5).position(|part| part == b"mark-").unwrap()..][..7];
            assert!(witness.sees(mark, Duration::from_secs(2)), "{what} is lost");
        }
        for (_, frame) in &dropped {
            liar.send(frame);
        }
        // Frames keep their order: once this one has come, no other will.
        liar.send(&udp(LIAR, LIAR_IP, (5000, 5000), b"mark-99"));
        assert_eq!(witness.marks_until(99), [99], "{dropped:?}");
    });
}

#[test]
fn a_link_without_rules_is_deaf_and_dumb() {
    in_a_node("a_link_without_rules_is_deaf_and_dumb", async || {
        let (network, segment) = (network(), segment(1));
        network.ensure_segment(&segment).await.unwrap();
        let ports = [31, 32].map(|n| port(&segment, n));
        let guests = ports.each_ref().map(Guest::at);
        network.plug(&segment, &ports[1]).await.unwrap();
        // By hand, past the agent.
        let (netns, tap) = (&segment.netns, &ports[0].tap);
        sh(&format!(
            "ip link set {tap} netns {netns} && ip -n {netns} link set {tap} master br0 up"
        ));
        let [stranger, witness] = guests.each_ref().map(|guest| Wire::at(&guest.netns));
        let frame = udp(LIAR, LIAR_IP, (5000, 5000), b"mark-50");
        for _ in 0..10 {
            stranger.send(&frame);
            assert!(!witness.sees(b"mark-50", Duration::from_millis(50)));
        }
        network.plug(&segment, &ports[0]).await.unwrap();
        stranger.send(&frame);
        assert!(witness.sees(b"mark-50", Duration::from_secs(2)));
    });
}

#[test]
fn frames_that_bypass_forwarding_teach_the_bridge_nothing() {
    in_a_node(
        "frames_that_bypass_forwarding_teach_the_bridge_nothing",
        async || {
            let (network, segment) = (network(), segment(1));
            network.ensure_segment(&segment).await.unwrap();
            let port = port(&segment, 31);
            let guest = Guest::at(&port);
            network.plug(&segment, &port).await.unwrap();
            let wire = Wire::at(&guest.netns);
            let victim = [0xfa, 0x16, 0x3e, 0, 0, 0x99];
            let fdb = format!("bridge -n {} fdb show br br0", segment.netns);
            // LLDP's group: the bridge takes such frames for itself, before any rule for forwarding.
            let lldp = [1, 0x80, 0xc2, 0, 0, 0x0e];
            wait_until("the bridge knows the guest", || {
                wire.send(&other(lldp, victim, 0x88cc, b"mark-60"));
                wire.send(&arp(LIAR, 1, (LIAR, LIAR_IP), b"mark-61"));
                sh(&fdb).contains("fa:16:3e:00:00:1f")
            });
            assert!(!sh(&fdb).contains("fa:16:3e:00:00:99"), "{}", sh(&fdb));
        },
    );
}
