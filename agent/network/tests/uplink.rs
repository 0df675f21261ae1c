//! Segments that reach beyond the node: what passes their uplink, and what does not. A pair of
//! links stands for the NIC; at its other end is the LAN.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod support;

use kilonova_agent_core::network::{NicObserved, PortDesired, SegmentDesired};
use kilonova_agent_network::Network;
use kilonova_crds::node::SegmentSpec;
use kilonova_crds::v1alpha1::SegmentType;
use std::sync::Arc;
use std::time::Duration;
use support::frames::{Wire, arp, tagged_udp, udp};
use support::guest::{Guest, serve};
use support::{NODE, WORLD, in_a_node, network, port, segment_spec, sh, try_sh, wait_until};

/// What comes, comes within this.
const SOON: Duration = Duration::from_millis(1500);
/// A machine in the LAN.
const MACHINE: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// The LAN behind the NIC, with a machine of that address in it.
fn lan(address: &str, mtu: u32) {
    sh(&format!(
        "ip netns add lan && ip -n lan link set lo up && \
         ip link add nic1 mtu {mtu} type veth peer name eth0 mtu {mtu} netns lan && \
         ip netns exec lan sysctl -qw net.ipv6.conf.all.disable_ipv6=1 && \
         ip -n lan addr add {address}/24 dev eth0 && ip -n lan link set eth0 up"
    ));
}

fn flat_spec() -> SegmentSpec {
    let mut spec = segment_spec(1);
    spec.type_ = SegmentType::Flat;
    spec.physical_network = Some("physnet1".to_owned());
    spec
}

fn parsed(spec: &SegmentSpec) -> SegmentDesired {
    SegmentDesired::from_spec(spec).unwrap()
}

async fn plugged(network: &Network, segment: &SegmentDesired, n: u8) -> (PortDesired, Guest) {
    network.ensure_segment(segment).await.unwrap();
    let port = port(segment, n);
    let guest = Guest::at(&port);
    network.plug(segment, &port).await.unwrap();
    (port, guest)
}

fn lan_pings(address: &str) -> bool {
    try_sh(&format!(
        "ip netns exec lan ping -c 2 -i 0.2 -w 2 -q {address}"
    ))
    .0
}

#[test]
fn neighbours_in_the_lan_are_reached_and_the_gateway_is_the_nodes_own() {
    in_a_node(
        "neighbours_in_the_lan_are_reached_and_the_gateway_is_the_nodes_own",
        async || {
            lan("10.0.0.200", 1500);
            serve(Some("world"), "192.0.2.1:80");
            let (network, segment) = (network(), parsed(&flat_spec()));
            let (port, guest) = plugged(&network, &segment, 31).await;
            let wire = Wire::at("lan");
            assert_eq!(guest.dhcp()["ip"], "10.0.0.31");
            guest.configure(&port);
            assert!(guest.pings("10.0.0.1"), "its gateway");
            assert_eq!(guest.asks("192.0.2.1:80").as_deref(), Some(NODE));
            for mark in [
                &segment.gateway_mac.octets()[..],
                &[0x63, 0x82, 0x53, 0x63],
                &[10, 0, 0, 31, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1],
            ] {
                let seen = wire.sees(mark, Duration::from_millis(300));
                assert!(!seen, "{mark:x?} passed the uplink");
            }
            assert!(guest.pings("10.0.0.200") && lan_pings("10.0.0.31"));
            let neighbour = [10, 0, 0, 31, 0, 0, 0, 0, 0, 0, 10, 0, 0, 200];
            assert!(wire.sees(&neighbour, SOON), "the wire is heard at all");
            assert!(!lan_pings("10.0.0.1"), "the gateway answers no one else");
        },
    );
}

#[test]
fn nobody_in_the_lan_is_the_gateway_or_the_dhcp_server() {
    in_a_node(
        "nobody_in_the_lan_is_the_gateway_or_the_dhcp_server",
        async || {
            lan("10.0.0.200", 1500);
            let (network, segment) = (network(), parsed(&flat_spec()));
            let (_, guest) = plugged(&network, &segment, 31).await;
            let (lan, ears) = (Wire::at("lan"), Wire::at(&guest.netns));
            let gateway = segment.gateway_mac.octets();
            let (here, there) = ([10, 0, 0, 1], [10, 0, 0, 200]);
            for (frame, mark) in [
                (
                    arp(gateway, 2, (gateway, here), b"as-gateway"),
                    "as-gateway",
                ),
                (
                    arp(MACHINE, 2, (MACHINE, here), b"its-address"),
                    "its-address",
                ),
                (udp(MACHINE, there, (67, 68), b"an-offer"), "an-offer"),
                (udp(gateway, here, (5000, 5001), b"its-mac"), "its-mac"),
                (
                    tagged_udp(MACHINE, there, (5000, 5001), b"tagged"),
                    "tagged",
                ),
            ] {
                lan.send(&frame);
                let seen = ears.sees(mark.as_bytes(), Duration::from_millis(200));
                assert!(!seen, "{mark} came through");
            }
            lan.send(&udp(MACHINE, there, (5000, 5001), b"a-neighbour"));
            assert!(ears.sees(b"a-neighbour", SOON), "others are heard");
            lan.send(&arp(MACHINE, 1, (MACHINE, there), b"who-has"));
            assert!(ears.sees(b"who-has", SOON), "others ask");
        },
    );
}

#[test]
fn a_router_in_the_lan_serves_where_the_node_is_no_gateway() {
    in_a_node(
        "a_router_in_the_lan_serves_where_the_node_is_no_gateway",
        async || {
            lan("10.0.0.1", 1500);
            serve(Some("lan"), "10.0.0.1:80");
            let mut spec = flat_spec();
            spec.routed = false;
            let (network, segment) = (network(), parsed(&spec));
            let (_, guest) = plugged(&network, &segment, 31).await;
            let told = guest.dhcp();
            assert_eq!(
                (told["ip"].as_str(), told["router"].as_str()),
                ("10.0.0.31", "10.0.0.1")
            );
            guest.sh("ip addr add 10.0.0.31/24 dev eth0");
            assert_eq!(guest.asks("10.0.0.1:80").as_deref(), Some("10.0.0.31"));
            assert!(lan_pings("10.0.0.31"), "the way in");
            let machine = sh("ip -n lan -o link show eth0");
            let machine = machine
                .split_whitespace()
                .skip_while(|w| *w != "link/ether")
                .nth(1);
            let neighbour = guest.sh("ip neigh show 10.0.0.1");
            assert!(neighbour.contains(machine.unwrap()), "{neighbour}");
            assert!(!guest.pings("169.254.169.254"), "DHCP is all that is there");
        },
    );
}

#[test]
fn the_mtu_is_one_from_end_to_end_and_no_more_than_the_nics() {
    in_a_node(
        "the_mtu_is_one_from_end_to_end_and_no_more_than_the_nics",
        async || {
            lan("10.0.0.200", 9000);
            let mut spec = flat_spec();
            spec.mtu = 9000;
            let (network, segment) = (network(), parsed(&spec));
            sh("ip link set nic1 mtu 8999");
            let error = network.ensure_segment(&segment).await.unwrap_err();
            let says = "NIC nic1 carries packets of 8999 bytes, and the network's MTU is 9000";
            assert_eq!(error.to_string(), says);
            sh("ip link set nic1 mtu 9000");
            let (port, guest) = plugged(&network, &segment, 31).await;
            for link in ["br0", "up0"] {
                let shown = sh(&format!("ip -n {} -o link show {link}", segment.netns));
                assert!(shown.contains("mtu 9000"), "{shown}");
            }
            assert_eq!(guest.dhcp()["mtu"], "9000");
            guest.configure(&port);
            guest.sh("ping -c 1 -W 2 -M do -s 8972 -q 10.0.0.200");
        },
    );
}

#[test]
fn a_nic_that_the_node_lives_by_is_never_taken() {
    in_a_node("a_nic_that_the_node_lives_by_is_never_taken", async || {
        let network = network();
        let nics = network.nics().await;
        let faults: Vec<_> = nics
            .iter()
            .map(|(network, nic)| {
                let fault = nic
                    .as_ref()
                    .map_or_else(|e| Some(e.clone()), NicObserved::fault);
                (network.as_str(), fault.unwrap().to_string())
            })
            .collect();
        assert_eq!(faults[0].0, "management");
        assert!(
            faults[0]
                .1
                .contains("NIC eth0 carries the address 192.0.2.2/24")
        );
        assert_eq!(faults[1], ("physnet1", "there is no NIC nic1".to_owned()));

        let mut spec = flat_spec();
        spec.physical_network = Some("management".to_owned());
        let before = sh("ip -o link | cut -d@ -f1; ip -o -4 addr; ip route");
        let error = network.ensure_segment(&parsed(&spec)).await.unwrap_err();
        assert!(error.to_string().contains("is never taken"), "{error}");
        network.remove_segment(&parsed(&spec).netns).await.unwrap();
        assert_eq!(
            before,
            sh("ip -o link | cut -d@ -f1; ip -o -4 addr; ip route")
        );
        sh(&format!("ping -c 1 -W 2 -q {WORLD}"));

        lan("10.0.0.200", 1500);
        for (taken, says) in [
            (
                "ip link set nic1 up; ip route add 198.51.100.0/24 dev nic1",
                "the route to 198.51.100.0/24",
            ),
            (
                "ip link add lanbr type bridge; ip link set nic1 master lanbr",
                "is a port of lanbr",
            ),
            (
                "ip addr add fd00::1/64 dev nic1 nodad",
                "the address fd00::1/64",
            ),
        ] {
            sh(taken);
            let error = network
                .ensure_segment(&parsed(&flat_spec()))
                .await
                .unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            sh("ip link set nic1 nomaster; ip addr flush dev nic1; ip link set nic1 down");
        }
        network.ensure_segment(&parsed(&flat_spec())).await.unwrap();
    });
}

#[test]
fn a_nic_is_as_it_was_when_the_last_port_is_gone() {
    in_a_node(
        "a_nic_is_as_it_was_when_the_last_port_is_gone",
        async || {
            lan("10.0.0.200", 1500);
            sh("ip link set nic1 up");
            let shown = || {
                sh("ip -o -d link show nic1 | sed 's/ qdisc.*link/ link/'; ip -o -4 addr show nic1")
            };
            let before = shown();
            let (network, segment) = (network(), parsed(&flat_spec()));
            let (port, guest) = plugged(&network, &segment, 31).await;
            guest.configure(&port);
            assert!(guest.pings("10.0.0.200"));
            let links = || sh(&format!("ip -n {} -o link", segment.netns));
            let (linked, next) = (links(), support::network());
            next.ensure_segment(&segment).await.unwrap();
            assert_eq!(linked, links(), "another agent touches nothing");
            network.unplug(&segment.netns, &port.tap).await.unwrap();
            network.remove_segment(&segment.netns).await.unwrap();
            assert_eq!(before, shown());
            network.ensure_segment(&segment).await.unwrap();
        },
    );
}

#[test]
fn what_others_break_is_told_at_once() {
    in_a_node("what_others_break_is_told_at_once", async || {
        lan("10.0.0.200", 1500);
        serve(Some("world"), "192.0.2.1:80");
        let (network, segment) = (Arc::new(network()), parsed(&flat_spec()));
        let (port, guest) = plugged(&network, &segment, 31).await;
        guest.configure(&port);
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let hears = Arc::clone(&network);
        tokio::spawn(async move { hears.heed(move |change| drop(tell.send(change))).await });
        let (mends, wanted) = (Arc::clone(&network), segment.clone());
        tokio::spawn(async move {
            while told.recv().await.is_some() {
                mends.ensure_segment(&wanted).await.unwrap();
            }
        });
        let inside = format!("ip netns exec {}", segment.netns);
        let whole = || {
            let link = |name: &str| try_sh(&format!("{inside} ip -o link show {name}")).1;
            let listed = sh(&format!("{inside} nft list ruleset"));
            let node = sh("nft list ruleset");
            link("up0").contains("master br0")
                && link("br0").contains(",UP")
                && link(port.tap.as_str()).contains("master br0")
                && listed.contains("jump beyond")
                && listed.contains(&format!("ether saddr {}", segment.gateway_mac))
                && listed.contains(&format!("p_{}", port.tap))
                && listed.contains("masquerade")
                && node.contains("table inet kilonova")
                && node.contains("comment \"kilonova\"")
                && sh(&format!("{inside} ip -o addr show br0")).contains("10.0.0.1/24")
                && sh(&format!("{inside} ip route")).contains("default")
        };
        wait_until("all of it to be there", whole);
        let transit = sh("ip -o link | grep -o 'kx[0-9a-f]*' | head -1");
        for damage in [
            format!("{inside} nft flush ruleset"),
            format!("{inside} nft flush chain bridge kilonova beyond"),
            format!("{inside} ip link del up0"),
            format!("{inside} ip link del br0"),
            format!("{inside} ip link set up0 nomaster"),
            format!("{inside} ip addr flush dev br0"),
            format!("{inside} ip route del default"),
            "nft delete table inet kilonova".to_owned(),
            "nft flush chain ip filter FORWARD".to_owned(),
            format!("ip link del {transit}"),
        ] {
            sh(&damage);
            assert!(!whole(), "nothing is broken by: {damage}");
            wait_until(&damage, whole);
            assert!(guest.pings("10.0.0.200"), "after: {damage}");
            assert_eq!(
                guest.asks("192.0.2.1:80").as_deref(),
                Some(NODE),
                "{damage}"
            );
        }
        sh(&format!("ip netns del {}", segment.netns));
        wait_until("the netns to be there again", || {
            try_sh(&format!("{inside} ip -o link show up0"))
                .1
                .contains("master br0")
        });
    });
}

#[test]
fn frames_that_another_link_has_are_said_to_be_and_all_else_is_done() {
    in_a_node(
        "frames_that_another_link_has_are_said_to_be_and_all_else_is_done",
        async || {
            lan("10.0.0.200", 1500);
            sh("ip link add link nic1 name other type macvlan mode bridge");
            let (network, segment) = (network(), parsed(&flat_spec()));
            let error = network.ensure_segment(&segment).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                "the frames without a tag of NIC nic1 are another link's of this node already"
            );
            let port = port(&segment, 31);
            let guest = Guest::at(&port);
            network.plug(&segment, &port).await.unwrap();
            assert_eq!(guest.dhcp()["ip"], "10.0.0.31");
            sh("ip link del other");
            network.ensure_segment(&segment).await.unwrap();
            guest.configure(&port);
            assert!(guest.pings("10.0.0.200"));
            let silent = sh("cat /proc/sys/net/ipv6/conf/nic1/disable_ipv6");
            assert_eq!(silent.trim(), "1", "a router's word gives it no address");
        },
    );
}

#[test]
#[ignore = "needs a kernel with 802.1Q"]
fn a_vlan_is_its_tag_and_equal_subnets_in_two_never_meet() {
    in_a_node(
        "a_vlan_is_its_tag_and_equal_subnets_in_two_never_meet",
        async || {
            lan("192.168.9.9", 1500);
            let tagged = "ip -n lan link add link eth0 name";
            sh(&format!(
                "{tagged} v104 type vlan id 104 && {tagged} v105 type vlan id 105 && ip netns add lan2 && \
                 ip -n lan link set v105 netns lan2 && \
                 ip -n lan addr add 10.0.0.200/24 dev v104 && ip -n lan link set v104 up && \
                 ip -n lan2 addr add 10.0.0.200/24 dev v105 && ip -n lan2 link set v105 up"
            ));
            let network = network();
            let of = |n, id| {
                let mut spec = segment_spec(n);
                (spec.type_, spec.id) = (SegmentType::Vlan, Some(id));
                spec.physical_network = Some("physnet1".to_owned());
                parsed(&spec)
            };
            let segments = [of(1, 104), of(2, 105)];
            let mut guests = Vec::new();
            for segment in &segments {
                let (port, guest) = plugged(&network, segment, 31).await;
                assert_eq!(guest.dhcp()["ip"], "10.0.0.31");
                guest.configure(&port);
                assert!(guest.pings("10.0.0.200") && guest.pings("10.0.0.1"));
                guests.push(guest);
            }
            let hosts = ["lan", "lan2"].map(|netns| {
                let line = format!("ip netns exec {netns} ping -c 2 -i 0.2 -w 2 -q 10.0.0.31");
                try_sh(&line).0
            });
            assert_eq!(hosts, [true, true], "each from its own side");
            assert!(!lan_pings("10.0.0.1"), "the gateway answers no one else");
            sh("ip -n lan link del v104");
            let reach = [0, 1].map(|n: usize| guests[n].pings("10.0.0.200"));
            assert_eq!(reach, [false, true], "no frame of one is the other's");
            let inside = format!("ip -n {} -d -o link show up0", segments[0].netns);
            assert!(sh(&inside).contains("vlan protocol 802.1Q id 104"));
            sh(&format!("ip -n {} link del up0", segments[0].netns));
            network.ensure_segment(&segments[0]).await.unwrap();
            assert!(sh(&inside).contains("master br0"));
            let links = sh(&format!("ip -n {} -o link", segments[0].netns));
            support::network()
                .ensure_segment(&segments[0])
                .await
                .unwrap();
            assert_eq!(links, sh(&format!("ip -n {} -o link", segments[0].netns)));
            for segment in &segments {
                network.remove_segment(&segment.netns).await.unwrap();
            }
            assert!(!sh("ip -o link").contains("up0"));
        },
    );
}
