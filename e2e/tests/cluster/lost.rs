//! A node that is lost, declared gone in both ways, and comes back after all.

use kilonova_crds::{ConditionStatus::Unknown, condition::types::READY, v1alpha1::Instance};
use kilonova_e2e::cloud::{InstanceHandle, Tenant, summary};
use kube::ResourceExt;
use serde_json::json;

use crate::{
    cloud,
    hand::{kubectl, libvirt_domains, nothing_left, on},
};

/// What an operator says of a machine that is off.
const GONE: &str = "node.kubernetes.io/out-of-service";

/// An Instance on a node with an address of its own choice.
async fn at<'a>(shop: &Tenant<'a>, name: &str, node: &str, ip: &str) -> InstanceHandle<'a> {
    let interfaces = json!([{"name": "eth0", "network": "blue", "ips": [ip]}]);
    let spec = on(node, json!({"interfaces": interfaces}));
    shop.create(name, spec).await.unwrap()
}

#[tokio::test]
async fn what_was_on_a_node_declared_gone_is_free_and_a_node_that_returns_drops_it() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let (other, node) = (cluster.node(0).name(), cluster.node(1));
    let shop = cloud.tenant("lost").await.unwrap();
    let tainted = at(&shop, "tainted", node.name(), "10.0.0.51").await;
    let deleted = at(&shop, "deleted", node.name(), "10.0.0.52").await;
    let kept = at(&shop, "kept", node.name(), "10.0.0.53").await;
    let mut given_up = Vec::new();
    for instance in [&tainted, &deleted] {
        instance.ready("Running").await.unwrap();
        let uid = instance.get().await.unwrap().uid().unwrap();
        given_up.push((instance.uuid().await.unwrap(), uid));
    }
    kept.ready("Running").await.unwrap();
    let boot = kept.boot_id().await.unwrap();
    node.power_cut().unwrap();

    // One way: the taint.
    tainted
        .condition(READY, Unknown, "NodeUnreachable")
        .await
        .unwrap();
    tainted.delete().await.unwrap();
    let says = |i: &Instance| i.metadata.deletion_timestamp.is_some() && summary(i).contains(GONE);
    tainted.until("what ends its wait", says).await.unwrap();
    let (taint, untaint) = (format!("{GONE}=off:NoExecute"), format!("{GONE}-"));
    let (say, unsay) = (
        ["taint", "node", node.name(), &taint],
        ["taint", "node", node.name(), &untaint],
    );
    let said = cloud.say(say, unsay).await.unwrap();
    tainted.gone().await.unwrap();
    let next = at(&shop, "next", other, "10.0.0.51").await;
    next.ready("Running").await.unwrap();
    drop(said);

    // The other: the Hypervisor goes.
    deleted.delete().await.unwrap();
    deleted.until("what ends its wait", says).await.unwrap();
    kubectl(&cloud, ["delete", "hypervisor", node.name()]).await;
    deleted.gone().await.unwrap();
    let after = at(&shop, "after", other, "10.0.0.52").await;
    after.ready("Running").await.unwrap();

    node.boot().unwrap();
    cluster.until_up(node).await.unwrap();
    cloud.hypervisors_ready().await.unwrap();
    for (uuid, uid) in &given_up {
        nothing_left(&cloud, node, uuid, uid).await;
    }
    kept.ready("Running").await.unwrap();
    assert_ne!(kept.boot_id().await.unwrap(), boot);
    assert_eq!(libvirt_domains(node).await, [kept.uuid().await.unwrap()]);
    for instance in [&next, &after] {
        instance.ready("Running").await.unwrap();
        assert_eq!(instance.machine().await.unwrap().name(), other);
    }
    shop.close().await.unwrap();
}
