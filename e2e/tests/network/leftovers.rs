//! What is on a node after everything was deleted: what was there before.

use std::collections::BTreeSet;

use kilonova_crds::names;
use kilonova_e2e::{
    cloud::{Cloud, inventory},
    lab::Node,
    process::Output,
    wait::{GENEROUS, wait_for},
};
use serde_json::Value;

use crate::{
    alone,
    guests::{at, configured, create, difference, mac, pings},
    world::WORLD,
};

#[tokio::test]
async fn b18_deletion_leaves_no_link_netns_rule_lease_or_route() {
    let (_alone, cloud) = alone().await;
    let nodes = [cloud.lab().node(0), cloud.lab().node(1)];
    for node in nodes {
        settled(&cloud, node).await;
    }
    let before = [
        inventory(nodes[0]).await.unwrap(),
        inventory(nodes[1]).await.unwrap(),
    ];
    let shop = cloud.tenant("b18").await.unwrap();
    let one = create(&shop, "node-1", "one", at("10.0.0.21")).await;
    let two = create(&shop, "node-2", "two", at("10.0.0.22")).await;
    for (node, guest) in nodes.iter().zip([&one, &two]) {
        configured(guest, "true").await;
        assert!(pings(guest, WORLD).await);
        let tap = guest.tap().await.unwrap();
        let mac = mac(guest).await;
        let there = inventory(node).await.unwrap();
        for word in [&tap, "netns kn-", "link node kx", "out0", "dnsmasq"] {
            assert!(there.iter().any(|line| line.contains(word)), "{word}");
        }
        let netns = guest.netns().await.unwrap();
        let files = format!("/run/kilonova/segments/{netns}");
        let read = format!("cat {files}/leases {files}/hosts/*");
        let leases = node.sh(&read).await.unwrap();
        assert!(leases.matches(&mac).count() >= 2, "{leases}");
    }
    one.delete().await.unwrap();
    two.delete().await.unwrap();
    one.gone().await.unwrap();
    two.gone().await.unwrap();
    for (node, before) in nodes.iter().zip(&before) {
        wait_for("nothing to be left", GENEROUS, || async {
            let after = inventory(node).await.map_err(|e| e.to_string())?;
            if after == *before {
                Ok(())
            } else {
                Err(difference(before, &after))
            }
        })
        .await
        .unwrap();
    }
    shop.close().await.unwrap();
}

/// Waits until a node has just what its node namespace says: tests that have ended leave theirs to be removed.
async fn settled(cloud: &Cloud, node: &Node) {
    let namespace = names::node_namespace(node.name());
    wait_for("earlier tests' things to go", GENEROUS, || async {
        let args = [
            "get",
            "domains.node.kilonova.dev,instances,namespaces",
            "-A",
            "-o=json",
        ];
        let output = cloud.lab().kubectl(args).await.and_then(Output::checked);
        let output = output.map_err(|e| e.to_string())?.stdout;
        let list: Value = serde_json::from_str(&output).map_err(|e| e.to_string())?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let leaving = |item: &&Value| !item["metadata"]["deletionTimestamp"].is_null();
        if let Some(item) = items.iter().find(leaving) {
            return Err(format!("{} is going", item["metadata"]["name"]));
        }
        let here = items
            .iter()
            .filter(|item| item["metadata"]["namespace"] == namespace.as_str());
        let ports = here.flat_map(|domain| {
            domain["spec"]["ports"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        });
        let wanted: BTreeSet<_> = ports
            .filter_map(|port| port["segment"].as_str().map(names::segment_netns))
            .collect();
        let there = node
            .sh("ip netns list | cut -d' ' -f1")
            .await
            .map_err(|e| e.to_string())?;
        let there: BTreeSet<_> = there.lines().map(str::to_owned).collect();
        if there == wanted {
            Ok(())
        } else {
            Err(format!("{there:?} are there, {wanted:?} wanted"))
        }
    })
    .await
    .unwrap();
}
