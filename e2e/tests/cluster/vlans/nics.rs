//! NICs that are the node's own, named as physical networks by mistake.

use kilonova_crds::{ConditionStatus, condition, v1alpha1::Hypervisor};
use kilonova_e2e::cloud::Flow;
use serde_json::json;

use super::world::{SETTING, nodes, nothing_lost, on, world};
use crate::cloud;

/// A NIC with a route and one that is a port of a bridge, both without an address. Of `eth0` the node lives.
const MADE: &str = "
ip link add name routed0 type dummy
ip link set dev routed0 up
ip route add 198.18.0.0/15 dev routed0
ip link add name bridge0 type bridge
ip link add name port0 type dummy
ip link set dev port0 master bridge0 up
";

/// What is named beside the trunk.
const MISTAKES: [(&str, &str); 3] = [
    ("physnet2", "eth0"),
    ("physnet3", "routed0"),
    ("physnet4", "port0"),
];

fn condition_says(hypervisor: &Hypervisor, status: ConditionStatus, words: &[String]) -> bool {
    let conditions = hypervisor.status.as_ref().map(|s| &s.conditions);
    let found = conditions.and_then(|c| condition::find(c, "PhysicalNetworksReady"));
    found.is_some_and(|c| c.status == status && words.iter().all(|word| c.message.contains(word)))
}

fn has(hypervisor: &Hypervisor, networks: &[&str]) -> bool {
    let status = hypervisor.status.as_ref();
    status.is_some_and(|s| s.physical_networks == networks)
}

#[tokio::test]
async fn a_nic_that_is_the_nodes_own_is_refused_and_the_node_stays_reachable() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let world = world(&cloud).await;
    let [node, _] = nodes(cluster);
    let to = world.two.ip().await.unwrap();
    let flow = Flow::start(&world.one, &to).await.unwrap();
    node.sh(MADE).await.unwrap();
    let look = "for nic in eth0 routed0 port0; do
        ip -o -d link show dev $nic; ip -o -4 addr show dev $nic; ip route show dev $nic; done";
    let before = node.sh(look).await.unwrap();

    let mistakes = MISTAKES
        .map(|(network, nic)| format!("agents.groups.default.physicalNetworks.{network}={nic}"));
    let all = format!("{SETTING},{}", mistakes.join(","));
    cluster.install(&["--set", &all]).await.unwrap();
    let words = [
        format!(
            "physnet2: NIC eth0 carries the address {}/24",
            node.address()
        ),
        "physnet3: NIC routed0 carries the route to 198.18.0.0/15".to_owned(),
        "physnet4: NIC port0 is a port of bridge0".to_owned(),
    ];
    let says = |hypervisor: &Hypervisor| {
        condition_says(hypervisor, ConditionStatus::False, &words) && has(hypervisor, &["physnet1"])
    };
    let what = "what is wrong with each NIC";
    cloud.hypervisor(node.name(), what, says).await.unwrap();
    cloud.hypervisors_ready().await.unwrap();
    cluster.until_ready(node, true).await.unwrap();
    // Nothing comes to a Network that would need one of them.
    let shop = cloud.tenant("mistaken").await.unwrap();
    let class = json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "NetworkClass", "metadata": {"name": "mistaken"},
        "spec": {"type": "vlan", "physicalNetwork": "physnet2", "ids": ["220"]},
    });
    let network = json!({"class": "mistaken", "subnets": [{"cidr": "10.12.0.0/24"}]});
    cloud
        .apply(&[class, shop.object("Network", "wire", &network)])
        .await
        .unwrap();
    let interfaces = json!([{"name": "eth0", "network": "wire"}]);
    let waits = on(&shop, node.name(), "waits", interfaces).await;
    waits
        .until("to wait for the physical network", |instance| {
            let status = instance.status.as_ref();
            let mut conditions = status.into_iter().flat_map(|s| &s.conditions);
            conditions.any(|c| c.message.contains("1 physical network missing"))
        })
        .await
        .unwrap();
    assert_eq!(node.sh(look).await.unwrap(), before, "none was touched");
    flow.goes_on().await.unwrap();

    // What nothing stands against any more is used from then on.
    node.sh("ip route del 198.18.0.0/15 dev routed0")
        .await
        .unwrap();
    let free = |hypervisor: &Hypervisor| has(hypervisor, &["physnet1", "physnet3"]);
    let what = "the NIC without its route";
    cloud.hypervisor(node.name(), what, free).await.unwrap();

    shop.close().await.unwrap();
    cloud.settled().await.unwrap();
    cluster.install(&["--set", SETTING]).await.unwrap();
    node.sh("for link in routed0 port0 bridge0; do ip link del $link; done")
        .await
        .unwrap();
    for node in nodes(cluster) {
        let ready =
            |hypervisor: &Hypervisor| condition_says(hypervisor, ConditionStatus::True, &[]);
        let what = "no mistake any more";
        cloud.hypervisor(node.name(), what, ready).await.unwrap();
    }
    flow.goes_on().await.unwrap();
    let answers = flow.end().await.unwrap();
    nothing_lost(&answers, "others' networks went on");
}
