//! A node that the network is cut from, while all on it runs on.

use std::time::Instant;

use kilonova_crds::{ConditionStatus::Unknown, condition::types::READY};
use serde_json::json;

use crate::{
    cloud,
    hand::{on, took, written},
};

#[tokio::test]
async fn a_node_that_is_cut_off_is_unknown_and_goes_on_as_if_nothing_had_been() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let node = cluster.node(1);
    let shop = cloud.tenant("isolated").await.unwrap();
    let web = shop
        .create("web", on(node.name(), json!({})))
        .await
        .unwrap();
    web.ready("Running").await.unwrap();
    let boot = web.boot_id().await.unwrap();
    let before = cluster.audit().unwrap().len();

    cluster.cut_off(node).await.unwrap();
    let start = Instant::now();
    let lost = web.condition(READY, Unknown, "NodeUnreachable").await;
    took("cut off → Unknown", start);
    let status = lost.unwrap().status.unwrap();
    assert_eq!(status.node_name.as_deref(), Some(node.name()));

    cluster.join(node).await.unwrap();
    let start = Instant::now();
    web.ready("Running").await.unwrap();
    took("joined → Running", start);
    cluster.until_ready(node, true).await.unwrap();
    cloud.hypervisors_ready().await.unwrap();
    assert_eq!(web.boot_id().await.unwrap(), boot);

    // Two writes said it, of the Instance and of the Hypervisor each; nothing was made or reported anew.
    let kinds = written(cluster, before, &[node], &shop);
    let wanted = [
        "hypervisors/status",
        "hypervisors/status",
        "instances/status",
        "instances/status",
    ];
    assert_eq!(kinds, wanted);
    shop.close().await.unwrap();
}
