//! A node that the network is cut from, while all on it runs on.

use std::time::{Duration, Instant};

use kilonova_crds::{ConditionStatus::Unknown, condition::types::READY, names};
use kilonova_e2e::lab::AuditEvent;
use serde_json::json;

use crate::{
    cloud,
    hand::{on, took},
};

/// A Lease is stale after 40 s; where the controllers' leader was on that node, another one counts anew.
const AT_MOST: Duration = Duration::from_secs(90);

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
    assert!(start.elapsed() < AT_MOST);
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
    let namespace = names::node_namespace(node.name());
    let audit = cluster.audit().unwrap().split_off(before);
    let writes = audit.iter().filter(|e| e.is_write() && e.succeeded());
    let about = |event: &&AuditEvent| {
        let object = &event.object_ref;
        let places = [shop.namespace(), &namespace];
        places.contains(&object.namespace.as_str()) || object.name == node.name()
    };
    let mut kinds: Vec<_> = writes.filter(about).map(written).collect();
    kinds.sort();
    let wanted = [
        "hypervisors/status",
        "hypervisors/status",
        "instances/status",
        "instances/status",
    ];
    assert_eq!(kinds, wanted);
    shop.close().await.unwrap();
}

fn written(event: &AuditEvent) -> String {
    format!(
        "{}/{}",
        event.object_ref.resource, event.object_ref.subresource
    )
}
