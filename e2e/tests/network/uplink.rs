//! A Network that reaches beyond its node: over a NIC in a physical network, here with the frames that have no tag.

use std::time::{Duration, Instant};

use kilonova_crds::v1alpha1::Hypervisor;
use kilonova_e2e::{
    process::run,
    wait::{GENEROUS, wait_for},
};
use kube::Api;
use serde_json::json;

use crate::{
    guests::{answers, configured, create, pings, told_by_dhcp},
    together,
    world::{MACHINE, PORT, WORLD},
};

/// What is mended because the kernel told of it, and not because its turn came, is mended within this, loaded as the
/// machine may be.
const TOLD: Duration = Duration::from_secs(30);

#[tokio::test]
async fn b38_guests_on_two_nodes_find_each_other_and_each_node_is_their_gateway() {
    let (_guard, cloud) = together().await;
    let shop = cloud.tenant("lan").await.unwrap();
    for node in cloud.lab().nodes() {
        let hypervisors: Api<Hypervisor> = Api::all(cloud.client());
        wait_for("the NIC to be reported", GENEROUS, || async {
            let status = hypervisors.get(node.name()).await.unwrap().status.unwrap();
            let has = status.physical_networks == ["lan"] && status.nics[0].name == "eth1";
            has.then_some(()).ok_or(format!("{:?}", status.conditions))
        })
        .await
        .unwrap();
    }
    let label = json!({"kubernetes.io/metadata.name": shop.namespace()});
    let class = json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "NetworkClass", "metadata": {"name": "lan"},
        "spec": {"type": "flat", "physicalNetwork": "lan", "allowedNamespaces": {"matchLabels": label}},
    });
    let subnet = json!({"cidr": "10.50.0.0/24", "ranges": ["10.50.0.10-10.50.0.99"]});
    let network = shop.object(
        "Network",
        "lan",
        &json!({"class": "lan", "subnets": [subnet]}),
    );
    cloud.apply(&[class, network]).await.unwrap();
    let one = create(
        &shop,
        "node-1",
        "one",
        json!({"network": "lan", "ips": ["10.50.0.21"]}),
    )
    .await;
    let two = create(
        &shop,
        "node-2",
        "two",
        json!({"network": "lan", "ips": ["10.50.0.22"]}),
    )
    .await;
    for (guest, neighbour) in [(&one, "10.50.0.22"), (&two, "10.50.0.21")] {
        configured(guest, "true").await;
        assert!(pings(guest, "10.50.0.1").await, "its gateway");
        assert!(
            pings(guest, neighbour).await,
            "its neighbour on the other node"
        );
        assert!(
            pings(guest, MACHINE).await,
            "a machine in the physical network"
        );
        let world = [format!("{WORLD}:{PORT}")];
        let seen = answers(guest, &world).await;
        let node = guest.node().await.unwrap();
        assert_eq!(seen.get(&world[0]), Some(&node.address().to_string()));
        assert_eq!(told_by_dhcp(guest).await["ip"], guest.ip().await.unwrap());
    }
    let asks = async |address: &str| {
        let mut command = cloud.lab().namespaces().command("ping");
        command.args([
            "-q", "-c", "3", "-i", "0.5", "-W", "3", "-I", "lan", address,
        ]);
        run(command, "").await.unwrap().checked().is_ok()
    };
    assert!(asks("10.50.0.21").await && asks("10.50.0.22").await);
    assert!(
        !asks("10.50.0.1").await,
        "no node answers for the gateway out there"
    );

    let (node, netns) = (cloud.lab().node(0), one.netns().await.unwrap());
    for damage in ["ip link del up0", "nft flush ruleset"] {
        let whole = format!(
            "ip -n {netns} -o link show up0 | grep -q 'master br0' && \
             ip netns exec {netns} nft list ruleset | grep -q 'jump beyond' && echo whole || echo broken"
        );
        let inside = format!("ip netns exec {netns} {damage}; {whole}");
        assert_eq!(node.sh(&inside).await.unwrap().trim(), "broken");
        let since = Instant::now();
        wait_for(damage, GENEROUS, || async {
            let is = node.sh(&whole).await.unwrap();
            (is.trim() == "whole").then_some(()).ok_or(is)
        })
        .await
        .unwrap();
        assert!(since.elapsed() < TOLD, "{damage}: {:?}", since.elapsed());
        assert!(pings(&one, "10.50.0.22").await, "after {damage}");
    }
    shop.close().await.unwrap();
}
