//! Nodes that take nothing, and what becomes of those that waited when they do.

use kilonova_crds::{
    ConditionStatus::{False, True, Unknown},
    condition::{find, types},
};
use kilonova_e2e::cloud::{Cloud, InstanceHandle, summary};
use serde_json::{Value, json};

use crate::{cloud, world};

/// Waits until nothing can be found for it, and it says this.
async fn waits_because(instance: &InstanceHandle<'_>, why: &str) {
    instance
        .until(why, |i| summary(i).contains(why))
        .await
        .unwrap();
    instance
        .condition(types::SCHEDULED, False, "NoValidHost")
        .await
        .unwrap();
    let status = instance.status().await.unwrap();
    assert_eq!(status.node_name, None, "{}", instance.name());
}

/// Waits until it is on that node, and only there.
async fn comes_to(cloud: &Cloud, instance: &InstanceHandle<'_>, node: &str) {
    instance.ready("Stopped").await.unwrap();
    assert_eq!(world::only_node(cloud, instance).await, node);
}

fn on_node(name: &str) -> Value {
    json!({"power": "Off", "nodeSelector": {"kubernetes.io/hostname": name}})
}

#[tokio::test]
async fn b30_b33_cordoned_and_dead_nodes_get_nothing_until_they_are_back() {
    let (_alone, cloud) = cloud().await;
    let shop = cloud.tenant("b30").await.unwrap();
    let stays = shop
        .create(
            "stays",
            json!({"nodeSelector": {"kubernetes.io/hostname": "node-1"}}),
        )
        .await
        .unwrap();
    stays.ready("Running").await.unwrap();
    let boot = stays.boot_id().await.unwrap();

    world::hypervisor(&cloud, "node-1", json!({"unschedulable": true})).await;
    world::node(&cloud, "node-2", json!({"spec": {"unschedulable": true}})).await;
    cloud.lab().agent(2).kill().unwrap();
    cloud
        .hypervisor("node-3", "Ready=Unknown", |hypervisor| {
            let status = hypervisor.status.as_ref().unwrap();
            let ready = find(&status.conditions, types::READY).unwrap();
            ready.status == Unknown && ready.reason == "LeaseStale"
        })
        .await
        .unwrap();
    let anywhere = shop.create("any", json!({"power": "Off"})).await.unwrap();
    let [one, two, three] = ["node-1", "node-2", "node-3"];
    let first = shop.create("first", on_node(one)).await.unwrap();
    let second = shop.create("second", on_node(two)).await.unwrap();
    let third = shop.create("third", on_node(three)).await.unwrap();
    for instance in [&anywhere, &first, &second, &third] {
        waits_because(instance, "0/3 hypervisors: 2 cordoned, 1 not ready").await;
    }
    assert_eq!(world::libvirt_domains(&cloud).await.len(), 1);

    // What one node can take, it takes; the others wait on.
    world::hypervisor(&cloud, one, json!({"unschedulable": false})).await;
    comes_to(&cloud, &first, one).await;
    comes_to(&cloud, &anywhere, one).await;
    let rest = "1 not ready, 1 cordoned, 1 node selector/affinity does not match";
    waits_because(&second, rest).await;
    world::node(&cloud, two, json!({"spec": {"unschedulable": null}})).await;
    comes_to(&cloud, &second, two).await;
    waits_because(
        &third,
        "2 node selector/affinity does not match, 1 not ready",
    )
    .await;
    cloud.lab().agent(2).start().unwrap();
    comes_to(&cloud, &third, three).await;
    assert_eq!(stays.boot_id().await.unwrap(), boot, "what is there stays");
    shop.close().await.unwrap();
}

#[tokio::test]
async fn b33_room_labels_and_taints_that_change_later_bind_who_waits_for_them() {
    let (_alone, cloud) = cloud().await;
    let shop = cloud.tenant("b33").await.unwrap();
    let ready = cloud.hypervisor("node-1", "capacity", |_| true).await;
    let cores = ready.unwrap().status.unwrap().capacity.unwrap().vcpus;
    // Nova's overcommit, 4 vCPUs a core, is one too few.
    let huge = json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Flavor", "metadata": {"name": "huge"},
        "spec": {"vcpus": cores * 4 + 1, "memory": "128Mi", "disk": "256Mi"},
    });
    cloud.apply(&[huge]).await.unwrap();
    let taint = json!([{"key": "kept", "value": "free", "effect": "NoSchedule"}]);
    world::node(&cloud, "node-2", json!({"spec": {"taints": taint}})).await;

    let roomy = json!({"power": "Off", "flavor": "huge"});
    let roomy = shop.create("roomy", roomy).await.unwrap();
    let fast = json!({"power": "Off", "nodeSelector": {"speed": "fast"}});
    let fast = shop.create("fast", fast).await.unwrap();
    let clean = shop.create("clean", on_node("node-2")).await.unwrap();
    let mut bears = on_node("node-2");
    bears["tolerations"] = json!([{"key": "kept", "operator": "Exists"}]);
    let bears = shop.create("bears", bears).await.unwrap();
    waits_because(&roomy, "2 too few vcpus, 1 taint not tolerated").await;
    waits_because(&fast, "2 node selector/affinity does not match, 1 taint").await;
    waits_because(&clean, "2 node selector/affinity does not match, 1 taint").await;
    comes_to(&cloud, &bears, "node-2").await;

    world::hypervisor(&cloud, "node-3", json!({"overcommit": {"cpu": "5.0"}})).await;
    comes_to(&cloud, &roomy, "node-3").await;
    waits_because(&fast, "2 node selector/affinity does not match, 1 taint").await;
    world::node(
        &cloud,
        "node-1",
        json!({"metadata": {"labels": {"speed": "fast"}}}),
    )
    .await;
    comes_to(&cloud, &fast, "node-1").await;
    waits_because(&clean, "2 node selector/affinity does not match, 1 taint").await;
    world::node(&cloud, "node-2", json!({"spec": {"taints": null}})).await;
    comes_to(&cloud, &clean, "node-2").await;
    let scheduled = roomy.get().await.unwrap().status.unwrap().conditions;
    assert_eq!(find(&scheduled, types::SCHEDULED).unwrap().status, True);
    shop.close().await.unwrap();
}
