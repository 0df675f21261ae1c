//! Who meets whom: instances of one Network on two nodes, and no others.

use std::net::Ipv4Addr;

use kilonova_e2e::{
    cloud::InstanceHandle,
    cluster::ClusterNode,
    wait::{GENEROUS, wait_for},
};

use super::world::{
    ELSEWHERE, GATEWAY, OTHER_GATEWAY, asks_for_its_address, nodes, pings, vlan, world,
};
use crate::cloud;

const MIB: u64 = 1 << 20;
/// Echo requests' usual size, in bytes of data.
const SMALL: u32 = 56;

#[tokio::test]
async fn b38_instances_of_a_network_meet_between_nodes_in_their_vlan_and_no_others() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let world = world(&cloud).await;
    let ids = [
        vlan(&cloud, "left", "wire").await,
        vlan(&cloud, "right", "wire").await,
    ];
    assert_ne!(ids[0], ids[1]);
    let capture = cluster.capture("vlans").await.unwrap();
    let (one, two) = (&world.one, &world.two);
    let (from, to) = (one.ip().await.unwrap(), two.ip().await.unwrap());
    assert_eq!(pings(one, &to, SMALL).await, 5);
    assert_eq!(pings(two, &from, SMALL).await, 5);
    for guest in [one, two, &world.other] {
        assert!(asks_for_its_address(guest).await, "{}", guest.name());
    }
    carries(one, two, 50).await;

    let frames = capture.frames("").await.unwrap();
    let of_vlan = |id: u32| {
        let tag = format!("vlan {id},");
        frames.iter().filter(move |frame| frame.contains(&tag))
    };
    assert!(of_vlan(ids[0]).any(|frame| frame.contains(&format!("{from} > {to}"))));
    // What the second Network has there is its own.
    let crossed: Vec<_> = of_vlan(ids[1])
        .filter(|frame| frame.contains(&to) || frame.contains(&from))
        .collect();
    assert!(crossed.is_empty(), "{crossed:#?}");
    let tags = ids.map(|id| format!("vlan {id},"));
    let strays: Vec<_> = frames
        .iter()
        .filter(|frame| !tags.iter().any(|tag| frame.contains(tag)))
        .collect();
    assert!(strays.is_empty(), "{strays:#?}");
    // Neither a gateway nor a DHCP server is heard of another node.
    let kept_off = [
        format!("{GATEWAY} "),
        format!("{OTHER_GATEWAY} "),
        "BOOTP/DHCP, Reply".to_owned(),
    ];
    let heard: Vec<_> = frames
        .iter()
        .filter(|frame| kept_off.iter().any(|what| frame.contains(what)))
        .collect();
    assert!(heard.is_empty(), "{heard:#?}");
}

/// Waits until so many MiB have come from one guest to another: whole packets, for long enough to meet every limit on
/// the way.
async fn carries(one: &InstanceHandle<'_>, two: &InstanceHandle<'_>, mib: u64) {
    let to = two.ip().await.unwrap();
    // Of busybox's nc, each half ends with its input; the port is in hexadecimal there.
    let receive = "rm -f ~/count; (sleep 1000 | nc -l -p 5000 | wc -c > ~/count) > /dev/null 2>&1 &
        until grep -qs ':1388 ' /proc/net/tcp /proc/net/tcp6; do usleep 100000; done";
    two.sh(receive).await.unwrap();
    let send = format!("dd if=/dev/zero bs=1M count={mib} | nc {to} 5000");
    one.sh(&format!("({send}) > /dev/null 2>&1 &"))
        .await
        .unwrap();
    let all = (mib * MIB).to_string();
    wait_for("all of it to be there", GENEROUS, || async {
        let count = two.sh("cat ~/count").await.map_err(|e| e.to_string())?;
        if count.trim() == all {
            Ok(())
        } else {
            Err(count)
        }
    })
    .await
    .unwrap();
}

/// Records every frame in a Segment, whichever of its links that is on.
struct Wiretap<'a> {
    node: &'a ClusterNode,
    file: String,
}

impl<'a> Wiretap<'a> {
    async fn start(node: &'a ClusterNode, netns: &str) -> Self {
        let file = format!("/tmp/{netns}.pcap");
        let script = format!(
            "ip netns exec {netns} tcpdump --immediate-mode -U -Z root -i any -w {file} \
                > /dev/null 2> {file}.log < /dev/null & echo $! > {file}.pid
             until grep -q 'listening on' {file}.log; do sleep 0.05; done"
        );
        node.sh(&script).await.unwrap();
        Self { node, file }
    }

    /// Ends it, and gives a line for each frame that was sent from one of these MACs.
    async fn frames(self, macs: &[String]) -> Vec<String> {
        let file = &self.file;
        let script = format!(
            "pid=$(cat {file}.pid); kill $pid; while [ -d /proc/$pid ]; do sleep 0.05; done
             tcpdump -nn -e -r {file} 2> /dev/null; rm {file}*"
        );
        let said = self.node.sh(&script).await.unwrap();
        let from_them = said
            .lines()
            .filter(|frame| macs.iter().any(|mac| frame.contains(mac)));
        from_them.map(str::to_owned).collect()
    }
}

/// Which of these addresses answer a guest, by whatever means, all asked at once; it also cries out to everybody.
async fn reached(guest: &InstanceHandle<'_>, addresses: &[&str]) -> String {
    let script = format!(
        "for a in {}; do
            (ping -q -c 5 -i 0.3 -W 5 $a | grep -q ' 0 packets received' || echo $a answers ping) &
            (arping -c 3 -w 5 -I eth0 $a > /dev/null && echo $a answers ARP) &
            (echo | nc -w 5 $a 22 > /dev/null 2>&1 && echo $a lets in) &
        done
        ping -c 3 -i 0.3 -W 1 10.9.0.255 > /dev/null 2>&1
        wait",
        addresses.join(" ")
    );
    guest.sh(&script).await.unwrap()
}

#[tokio::test]
async fn b39_nothing_of_a_network_is_heard_in_another_with_the_same_subnet() {
    let (_alone, cloud) = cloud().await;
    let world = world(&cloud).await;
    let [_, node] = nodes(cloud.cluster().unwrap());
    let own = world.two.netns().await.unwrap();
    let others = world.other.netns().await.unwrap();
    let taps = [
        Wiretap::start(node, &own).await,
        Wiretap::start(node, &others).await,
    ];
    // The way out of the other Network, as its node has it.
    let out =
        format!("ip -n {others} -o -4 addr show dev out0 | sed -E 's|.* inet ([0-9.]+)/.*|\\1|'");
    let out = node.sh(&out).await.unwrap();
    out.trim().parse::<Ipv4Addr>().unwrap();
    for guest in [&world.one, &world.two] {
        assert_eq!(
            reached(guest, &[ELSEWHERE, OTHER_GATEWAY, out.trim()]).await,
            ""
        );
        assert!(asks_for_its_address(guest).await);
    }
    assert_eq!(reached(&world.other, &[GATEWAY]).await, "");
    assert_eq!(pings(&world.other, OTHER_GATEWAY, SMALL).await, 5);

    // Whatever they said was heard by their own neighbours, and by nobody on the right.
    let mut macs = Vec::new();
    for guest in [&world.one, &world.two] {
        macs.push(guest.status().await.unwrap().interfaces[0].mac.clone());
    }
    let [own, others] = taps;
    let own = own.frames(&macs).await;
    for what in ["ARP", "ICMP echo request"] {
        let heard = own.iter().filter(|frame| frame.contains(what));
        assert_ne!(heard.count(), 0, "{what}: {own:#?}");
    }
    let others = others.frames(&macs).await;
    assert!(others.is_empty(), "{others:#?}");
}
