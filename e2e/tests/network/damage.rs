//! What somebody breaks on a node by hand is mended.

use std::collections::BTreeSet;

use kilonova_e2e::{
    cloud::{InstanceHandle, inventory},
    lab::Node,
    wait::{GENEROUS, wait_for},
};

use crate::{
    alone,
    guests::{answers, at, configured, create, difference, pings, told_by_dhcp},
    world::{PORT, WORLD},
};

#[tokio::test]
async fn b44_links_rules_and_switches_that_are_broken_by_hand_are_mended() {
    let (_alone, cloud) = alone().await;
    let shop = cloud.tenant("damage").await.unwrap();
    let mut guests = Vec::new();
    for (node, name, ip) in [
        ("node-1", "one", "10.0.0.21"),
        ("node-1", "two", "10.0.0.22"),
        ("node-2", "three", "10.0.0.23"),
        ("node-2", "four", "10.0.0.24"),
    ] {
        guests.push(create(&shop, node, name, at(ip)).await);
    }
    for guest in &guests {
        configured(guest, "true").await;
        guest.ready("Running").await.unwrap();
    }
    let [one, two, three, four] = &guests[..] else {
        unreachable!("four were made")
    };
    let netns = one.netns().await.unwrap();
    let nodes = [cloud.lab().node(0), cloud.lab().node(1)];
    let before = [look(nodes[0], &netns).await, look(nodes[1], &netns).await];
    let inside = format!("ip netns exec {netns}");
    let tap = three.tap().await.unwrap();
    let transit = "$(ip -o link | grep -o ' kx[^@:]*')";
    // On the one node rules and switches, on the other links; on both what is between netns and node.
    let damage = [
        format!(
            "{inside} nft flush ruleset; [ -z \"$({inside} nft list ruleset)\" ]; {inside} sysctl -qw net.ipv4.ip_forward=0; \
             {inside} ip route del default; {inside} ip link set br0 down; sysctl -qw net.ipv4.ip_forward=0; \
             nft delete table inet kilonova; nft flush chain inet hostfilter forward"
        ),
        format!(
            "{inside} ip link set {tap} nomaster; {inside} ip link del br0; if {inside} ip link show br0; then exit 1; fi; ip link del {transit}; \
             nft flush chain ip filter FORWARD; {inside} nft flush chain bridge kilonova p_{tap}"
        ),
    ];
    // Each looks itself whether something is broken: a moment later it may be mended.
    for (node, damage) in nodes.iter().zip(&damage) {
        node.sh(damage).await.unwrap();
    }
    for (node, before) in nodes.iter().zip(&before) {
        wait_for("everything to be as it was", GENEROUS, || async {
            let now = look(node, &netns).await;
            if now == *before {
                Ok(())
            } else {
                Err(difference(before, &now))
            }
        })
        .await
        .unwrap();
    }
    for (guest, neighbour) in [(one, two), (two, one), (three, four), (four, three)] {
        works(guest, neighbour).await;
    }
    shop.close().await.unwrap();
}

/// All that is on a node, with what an inventory does not tell: which links have which master and are up, and switches.
/// Not the MAC of the way out: the kernel chooses it.
async fn look(node: &Node, netns: &str) -> BTreeSet<String> {
    let mut all = inventory(node).await.unwrap();
    // The chain of another's that we flush had a rule of its own, which is not ours to mend.
    all.retain(|line| !line.ends_with("\tcounter"));
    let script = format!(
        "ip netns exec {netns} sh -c \"ip -o link | sed -E 's/^[0-9]+: //; s/@[^:]*//; /^out0/s/ether [^ ]*//'; cat /proc/sys/net/ipv4/ip_forward\"
         cat /proc/sys/net/ipv4/ip_forward"
    );
    let more = node.sh(&script).await.unwrap();
    all.extend(more.lines().map(str::to_owned));
    all
}

async fn works(guest: &InstanceHandle<'_>, neighbour: &InstanceHandle<'_>) {
    let name = guest.name();
    let address = neighbour.ip().await.unwrap();
    assert!(pings(guest, &address).await, "{name} and its neighbour");
    let world = [format!("{WORLD}:{PORT}")];
    let seen = answers(guest, &world).await;
    let node = guest.node().await.unwrap().address().to_string();
    assert_eq!(seen.get(&world[0]), Some(&node), "{name} and the world");
    let told = told_by_dhcp(guest).await;
    assert_eq!(told["ip"], guest.ip().await.unwrap(), "DHCP for {name}");
}
