//! A router of the operator's own, in a VLAN with instances, and who comes in by it.

use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle},
    cluster::ClusterNode,
    process::Output,
    repo,
    wait::{GENEROUS, wait_for},
};
use serde_json::json;

use super::world::{nodes, on, trunk};
use crate::cloud;

/// The router, and a client behind it that knows of no VLAN: in a netns of the router, on a wire of its own.
const ROUTER: &str = "
ip link add link eth1 name eth1.300 type vlan id 300
ip addr add 198.51.100.1/24 dev eth1.300
ip link set dev eth1.300 up
iptables -P FORWARD ACCEPT
ip netns add client
ip link add name lan type veth peer name eth0 netns client
ip addr add 203.0.113.1/24 dev lan
ip link set dev lan up
ip -n client addr add 203.0.113.5/24 dev eth0
ip -n client link set dev eth0 up
ip -n client route add default via 203.0.113.1
";
/// The netns of the client.
const CLIENT: &str = "client";
/// Its address.
const ADDRESS: &str = "203.0.113.5";

#[tokio::test]
async fn an_outside_router_is_a_way_in_to_instances() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    trunk(&cloud).await;
    let dmz = cloud.tenant("dmz").await.unwrap();
    let example = repo::root().join("examples/networks/outside-router.yaml");
    let example = std::fs::read_to_string(example).unwrap();
    let example = example
        .replace("namespace: default", "namespace: dmz")
        .replace("metadata.name: default", "metadata.name: dmz");
    cloud
        .lab()
        .apply(&example)
        .await
        .unwrap()
        .checked()
        .unwrap();
    let [_, node] = nodes(cluster);
    let interfaces = json!([{"name": "eth0", "network": "dmz"}]);
    let web = on(&dmz, node.name(), "web", interfaces).await;
    let router = cluster.outsider("router").await.unwrap();
    router.sh(ROUTER).await.unwrap();
    web.ready("Running").await.unwrap();
    let address = web.ip().await.unwrap();

    let said = comes_in(
        &cloud,
        &router,
        &address,
        "hostname; echo $SSH_CONNECTION; ip route",
    )
    .await;
    assert!(said.starts_with("web\n"), "{said}");
    assert!(
        said.contains(&format!("\n{ADDRESS} ")),
        "by its own address: {said}"
    );
    assert!(said.contains("default via 198.51.100.1 "), "{said}");
    let back = format!("ping -q -c 3 -W 5 {ADDRESS}");
    let said = comes_in(&cloud, &router, &address, &back).await;
    assert!(said.contains("3 packets received"), "{said}");
    let whole = [
        "ping", "-q", "-M", "do", "-s", "1472", "-c", "3", "-W", "5", &address,
    ];
    let whole = router.netns_exec(CLIENT, whole).await.unwrap();
    let whole = whole.checked().unwrap().stdout;
    assert!(whole.contains("3 received"), "{whole}");
    // No node is the gateway, nor gives answers for it.
    let ask = "if arping -c 3 -I eth1.300 198.51.100.1; then echo somebody; else echo nobody; fi";
    let said = router.sh(ask).await.unwrap();
    assert!(said.ends_with("nobody\n"), "{said}");

    let netns = web.netns().await.unwrap();
    goes_with_its_last_port(&web, node, &netns).await;
    dmz.close().await.unwrap();
    router.power_cut().unwrap();
}

/// What a command in the instance says to the client, as soon as that gets in.
async fn comes_in(cloud: &Cloud, router: &ClusterNode, address: &str, command: &str) -> String {
    let key = &cloud.key().private;
    let entered = |output: &Output| output.status.code() != Some(255);
    let output = wait_for("the client to get in", GENEROUS, || async {
        match router.ssh(CLIENT, address, key, command).await {
            Ok(output) if entered(&output) => Ok(output),
            Ok(output) => Err(output.stderr),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap();
    output.checked().unwrap().stdout
}

async fn goes_with_its_last_port(instance: &InstanceHandle<'_>, node: &ClusterNode, netns: &str) {
    assert!(node.sh("ip netns list").await.unwrap().contains(netns));
    instance.delete().await.unwrap();
    instance.gone().await.unwrap();
    wait_for("its segment to be gone", GENEROUS, || async {
        let seen = node.sh("ip netns list").await.map_err(|e| e.to_string())?;
        if seen.contains(netns) {
            Err(seen)
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
}
