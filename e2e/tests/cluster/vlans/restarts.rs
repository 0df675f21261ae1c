//! Agents that end under traffic, and a node that loses its power.

use kilonova_e2e::{
    cloud::Flow,
    cluster::ClusterNode,
    wait::{GENEROUS, wait_for},
};

use super::world::{
    GATEWAY, another_agent, asks_for_its_address, links_and_rules, nodes, nothing_lost, pings,
    servers, world,
};
use crate::cloud;

#[tokio::test]
async fn b44_no_packet_between_nodes_is_lost_when_agents_end_and_nothing_is_there_twice() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let world = world(&cloud).await;
    let (from, to) = (world.one.ip().await.unwrap(), world.two.ip().await.unwrap());
    let netns = world.one.netns().await.unwrap();
    let mut before = Vec::new();
    for node in nodes(cluster) {
        before.push(links_and_rules(node).await);
    }
    let flows = [
        Flow::start(&world.one, &to).await.unwrap(),
        Flow::start(&world.two, &from).await.unwrap(),
        Flow::start(&world.one, GATEWAY).await.unwrap(),
    ];
    for flow in &flows {
        flow.goes_on().await.unwrap();
    }

    let [first, second] = nodes(cluster);
    let was = servers(first, &netns).await;
    assert_eq!(was.1.len(), 1, "one DHCP server: {was:?}");
    first.kill("kilonova-agent").await.unwrap();
    another_agent(first, &netns, &was).await;
    let was = [servers(first, &netns).await, servers(second, &netns).await];
    let pods = ["-n", "kilonova-agents", "delete", "pod", "--all", "--wait"];
    cluster.kubectl(pods).await.unwrap().checked().unwrap();
    for (node, was) in nodes(cluster).into_iter().zip(&was) {
        another_agent(node, &netns, was).await;
    }
    for node in nodes(cluster) {
        looks_after(node, &netns).await;
    }

    for flow in &flows {
        flow.goes_on().await.unwrap();
    }
    for flow in flows {
        let answers = flow.end().await.unwrap();
        nothing_lost(&answers, "each request was answered, once");
    }
    for (node, before) in nodes(cluster).into_iter().zip(before) {
        until_as_before(node, &before, |_| true).await;
    }
    assert!(asks_for_its_address(&world.one).await);
}

/// Waits until the agent has mended what does no harm: so it has looked at the Segment.
async fn looks_after(node: &ClusterNode, netns: &str) {
    let damage = format!("ip -n {netns} link set dev lo alias damaged");
    node.sh(&damage).await.unwrap();
    let look = format!("ip -n {netns} link show dev lo");
    wait_for("the Segment to be looked after", GENEROUS, || async {
        let seen = node.sh(&look).await.map_err(|e| e.to_string())?;
        if seen.contains("alias kilonova network left/wire") {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn segments_and_guests_return_with_a_node_that_lost_its_power() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let world = world(&cloud).await;
    let [_, node] = nodes(cluster);
    let boot = world.two.boot_id().await.unwrap();
    let bound = world.two.status().await.unwrap().interfaces;
    let before = links_and_rules(node).await;

    node.power_cut().unwrap();
    node.boot().unwrap();
    cluster.until_up(node).await.unwrap();
    wait_for("the guest to have booted again", GENEROUS, || async {
        match world.two.boot_id().await {
            Ok(now) if now != boot => Ok(()),
            Ok(_) => Err("it is the boot that it was".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap();
    for guest in [&world.two, &world.other] {
        guest.ready("Running").await.unwrap();
    }
    assert_eq!(world.two.status().await.unwrap().interfaces, bound);
    let (from, to) = (world.one.ip().await.unwrap(), world.two.ip().await.unwrap());
    assert_eq!(pings(&world.one, &to, 56).await, 5);
    assert_eq!(pings(&world.two, &from, 56).await, 5);
    assert_eq!(pings(&world.two, GATEWAY, 56).await, 5);
    // Other links bear the same names.
    until_as_before(node, &before, |line| !line.starts_with("index ")).await;
}

/// Waits until a node has the same because of its Segments as it had, of the lines that count.
async fn until_as_before(node: &ClusterNode, before: &[String], counts: fn(&String) -> bool) {
    wait_for("the node to be as it was", GENEROUS, || async {
        let after = links_and_rules(node).await;
        let new = after.iter().filter(|line| !before.contains(line));
        let gone = before.iter().filter(|line| !after.contains(line));
        let all: Vec<_> = new
            .chain(gone)
            .filter(|line| counts(line))
            .cloned()
            .collect();
        if all.is_empty() {
            Ok(())
        } else {
            Err(all.join("\n"))
        }
    })
    .await
    .unwrap();
}
