//! A node without power.

use kilonova_crds::{ConditionStatus::Unknown, condition::types::READY, v1alpha1::PowerState};
use serde_json::json;

use crate::cloud;

#[tokio::test]
async fn a_node_without_power_is_waited_for_and_runs_its_guests_again() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let node = cluster.node(1);
    let shop = cloud.tenant("power").await.unwrap();
    let there = json!({"nodeSelector": {"kubernetes.io/hostname": node.name()}});
    let kept = shop.create("kept", there.clone()).await.unwrap();
    let deleted = shop.create("deleted", there).await.unwrap();
    for instance in [&kept, &deleted] {
        instance.ready("Running").await.unwrap();
    }
    let boot = kept.boot_id().await.unwrap();

    node.power_cut().unwrap();
    cluster.until_ready(node, false).await.unwrap();
    let unknown = |instance: &kilonova_crds::v1alpha1::Instance| {
        let status = instance.status.as_ref();
        status.is_some_and(|s| {
            let ready = kilonova_crds::condition::find(&s.conditions, READY);
            s.power_state == Some(PowerState::Unknown) && ready.is_some_and(|c| c.status == Unknown)
        })
    };
    kept.until("Unknown", unknown).await.unwrap();
    deleted.delete().await.unwrap();
    let waits = deleted
        .until("its deletion to say why it waits", |instance| {
            let status = instance.status.as_ref();
            let ready = status.and_then(|s| kilonova_crds::condition::find(&s.conditions, READY));
            instance.metadata.deletion_timestamp.is_some()
                && ready.is_some_and(|c| c.message.contains(node.name()))
        })
        .await;
    waits.unwrap();

    node.boot().unwrap();
    cluster.until_up(node).await.unwrap();
    cloud.hypervisors_ready().await.unwrap();
    deleted.gone().await.unwrap();
    kept.ready("Running").await.unwrap();
    assert_ne!(kept.boot_id().await.unwrap(), boot);
    shop.close().await.unwrap();
}
