//! Whom guests reach: neighbours and the world, and nothing of the node or the cluster but what the operator allows.

use std::collections::BTreeSet;

use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle},
    lab::{Node, network},
};
use serde_json::json;

use crate::{
    guests::{answers, at, configured, create, pings},
    together,
    world::{LINK_LOCAL, NODE_PORT, PORT, SERVICE, WORLD},
};

#[tokio::test]
async fn equal_subnets_on_a_node_never_meet_and_each_leads_to_the_world_as_the_node() {
    let (_guard, cloud) = together().await;
    let (red, blue) = (cloud.tenant("red").await, cloud.tenant("blue").await);
    let (red, blue) = (red.unwrap(), blue.unwrap());
    let red_1 = create(&red, "node-1", "red-1", at("10.0.0.21")).await;
    let blue_1 = create(&blue, "node-1", "blue-1", at("10.0.0.21")).await;
    let red_2 = create(&red, "node-1", "red-2", at("10.0.0.22")).await;
    let blue_2 = create(&blue, "node-1", "blue-2", at("10.0.0.23")).await;
    for guest in [&red_1, &red_2, &blue_1, &blue_2] {
        assert_eq!(configured(guest, "hostname").await, guest.name());
    }
    assert!(pings(&red_1, "10.0.0.22").await && pings(&red_2, "10.0.0.21").await);
    assert!(pings(&blue_1, "10.0.0.23").await && pings(&blue_2, "10.0.0.21").await);
    assert!(!pings(&red_1, "10.0.0.23").await, "red meets blue");
    assert!(!pings(&blue_1, "10.0.0.22").await, "blue meets red");
    let world = [format!("{WORLD}:{PORT}")];
    for guest in [&red_1, &blue_1] {
        assert!(pings(guest, "10.0.0.1").await, "the gateway answers");
        let seen = answers(guest, &world).await;
        assert_eq!(seen[&world[0]], "10.99.0.11", "the world sees the node");
        assert!(pings(guest, WORLD).await);
    }
    forwarding_is_not_allowed_by_itself(cloud.lab().node(0)).await;
    red.close().await.unwrap();
    blue.close().await.unwrap();
}

/// The node is as most Kubernetes nodes are: its own chain drops what it does not know, and bridged frames pass it.
async fn forwarding_is_not_allowed_by_itself(node: &Node) {
    let chains = node.sh("nft list chains").await.unwrap();
    assert!(
        chains.contains("hook forward priority filter; policy drop;"),
        "{chains}"
    );
    let knob = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    let look = format!("cat {knob} 2>/dev/null || echo none");
    let called = node.sh(&look).await.unwrap();
    assert!(["1", "none"].contains(&called.trim()), "{called}");
}

#[tokio::test]
async fn of_node_cluster_and_link_local_only_what_the_operator_allows_is_reached() {
    let (_guard, cloud) = together().await;
    let shop = cloud.tenant("reach").await.unwrap();
    let shut = create(&shop, "node-1", "shut", at("10.0.0.21")).await;
    let open = create(&shop, "node-2", "open", at("10.0.0.22")).await;
    configured(&shut, "true").await;
    configured(&open, "true").await;
    let control_plane = network::CONTROL_PLANE;
    let api = format!("{control_plane}:{}", network::API_PORT);
    let host = format!("{control_plane}:{PORT}");
    let own = |node: &Node| format!("{}:{NODE_PORT}", node.address());
    let (node_1, node_2) = (own(cloud.lab().node(0)), own(cloud.lab().node(1)));
    let world = format!("{WORLD}:{PORT}");
    let mut servers = vec![api.clone(), host.clone(), world.clone()];
    servers.extend([node_1, node_2.clone()]);
    servers.extend([SERVICE, LINK_LOCAL].map(|address| format!("{address}:{PORT}")));
    servers.push(format!("10.0.0.1:{NODE_PORT}"));

    each_is_there(&cloud, &servers).await;
    for (guest, allowed) in [
        (&shut, vec![&world]),
        (&open, vec![&world, &api, &host, &node_2]),
    ] {
        let mut all = servers.clone();
        all.push(format!("{}:{NODE_PORT}", transit(guest).await));
        let reached = answers(guest, &all).await;
        let reached: BTreeSet<_> = reached.keys().collect();
        assert_eq!(
            reached,
            allowed.into_iter().collect(),
            "by {}",
            guest.name()
        );
    }
    let address = cloud.lab().node(0).address().to_string();
    assert!(!pings(&shut, &address).await, "nor does the node answer");
    let seen = answers(&open, &[world.clone(), host.clone()]).await;
    assert_eq!(
        (seen[&world].as_str(), seen[&host].as_str()),
        ("10.99.0.12", "10.99.0.12")
    );
    forwarding_is_not_allowed_by_itself(cloud.lab().node(1)).await;
    shop.close().await.unwrap();
}

/// What is out of reach for guests is not for the node: but for the gateway, whose netns nobody serves.
async fn each_is_there(cloud: &Cloud, servers: &[String]) {
    for server in servers.iter().filter(|s| !s.starts_with("10.0.0.")) {
        let (address, port) = server.split_once(':').unwrap();
        let ask = format!("timeout 60 bash -c '</dev/tcp/{address}/{port}'");
        cloud.lab().node(0).sh(&ask).await.unwrap();
    }
}

/// The node's end of the way out of a guest's Segment.
async fn transit(guest: &InstanceHandle<'_>) -> String {
    let netns = guest.netns().await.unwrap();
    let look = format!("ip -n {netns} route show default | awk '{{print $3}}'");
    let said = guest.node().await.unwrap().sh(&look).await.unwrap();
    assert!(said.starts_with("100.127."), "{said}");
    said.trim().to_owned()
}

#[tokio::test]
async fn a_network_that_is_not_routed_has_neighbours_but_no_gateway_and_no_way_out() {
    let (_guard, cloud) = together().await;
    let shop = cloud.tenant("plain").await.unwrap();
    let spec = json!({"class": "local", "routed": false, "subnets": [{"cidr": "10.0.0.0/24"}]});
    cloud
        .apply(&[shop.object("Network", "plain", &spec)])
        .await
        .unwrap();
    let interface = |ip: &str| json!({"network": "plain", "ips": [ip]});
    let one = create(&shop, "node-2", "one", interface("10.0.0.21")).await;
    let two = create(&shop, "node-2", "two", interface("10.0.0.22")).await;
    configured(&two, "true").await;
    let routes = configured(&one, "ip route; cat /etc/resolv.conf").await;
    assert_eq!(routes, "10.0.0.0/24 dev eth0 scope link  src 10.0.0.21");
    assert!(pings(&one, "10.0.0.22").await);
    // Nor does one that makes up a gateway lead outwards: where DHCP is served from, or a neighbour.
    for gateway in ["10.0.0.1", "10.0.0.22"] {
        let route = format!("ip route replace default via {gateway}");
        one.sh(&route).await.unwrap();
        let servers = [
            format!("{WORLD}:{PORT}"),
            format!("{}:{NODE_PORT}", cloud.lab().node(1).address()),
        ];
        assert!(answers(&one, &servers).await.is_empty());
    }
    let links = "ip -o -br link | awk '{print $1}' | cut -d@ -f1 | sort | xargs";
    let inside = format!("ip netns exec {} {links}", one.netns().await.unwrap());
    let seen = cloud.lab().node(1).sh(&inside).await.unwrap();
    let (a, b) = (one.tap().await.unwrap(), two.tap().await.unwrap());
    let mut expected = ["br0", "lo", &a, &b];
    expected.sort_unstable();
    assert_eq!(seen.trim(), expected.join(" "));
    shop.close().await.unwrap();
}
