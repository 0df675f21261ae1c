//! A node that was declared gone.

use kilonova_crds::{ConditionStatus::Unknown, condition::types::READY};
use kilonova_e2e::cloud::summary;
use kube::ResourceExt;
use serde_json::json;

use crate::{alone, hand, on};

/// What an operator says of a machine that is off.
const GONE: &str = "node.kubernetes.io/out-of-service";

#[tokio::test]
async fn an_instance_on_a_node_declared_gone_goes_and_is_purged_when_its_agent_returns() {
    let (_alone, cloud) = alone().await;
    let shop = cloud.tenant("forfeited").await.unwrap();
    let address = json!([{"name": "eth0", "network": "blue", "ips": ["10.0.0.50"]}]);
    let spec = json!({"interfaces": address});
    let web = shop
        .create("web", on("node-2", spec.clone()))
        .await
        .unwrap();
    web.ready("Running").await.unwrap();
    let uid = web.get().await.unwrap().uid().unwrap();
    let (node, uuid, netns) = (
        web.node().await.unwrap(),
        web.uuid().await.unwrap(),
        web.netns().await.unwrap(),
    );
    let boot = web.boot_id().await.unwrap();
    let agent = hand::stop(hand::agent(&cloud, "node-2"));
    web.condition(READY, Unknown, "NodeUnreachable")
        .await
        .unwrap();
    web.delete().await.unwrap();
    web.until("what ends the wait", |i| summary(i).contains(GONE))
        .await
        .unwrap();

    let taint = format!("{GONE}=off:NoExecute");
    let untaint = format!("{GONE}-");
    let (say, unsay) = (
        ["taint", "node", "node-2", &taint],
        ["taint", "node", "node-2", &untaint],
    );
    let gone = cloud.say(say, unsay).await.unwrap();
    web.gone().await.unwrap();
    // Its address is free, its guest is not dead.
    let next = shop.create("next", on("node-1", spec)).await.unwrap();
    next.ready("Running").await.unwrap();
    let key = &cloud.key().private;
    let asks = "cat /proc/sys/kernel/random/boot_id";
    let answer = node.ssh(&netns, "10.0.0.50", key, asks).await.unwrap();
    assert_eq!(answer.stdout.trim(), boot);
    let domain = hand::domains(&cloud, "node-2").get(&uid).await.unwrap();
    assert!(domain.spec.forfeited);

    drop(agent);
    hand::nothing_left(&cloud, node, &[&uuid, &netns], &uid).await;
    drop(gone);
    assert_eq!(next.ip().await.unwrap(), "10.0.0.50");
    shop.close().await.unwrap();
}
