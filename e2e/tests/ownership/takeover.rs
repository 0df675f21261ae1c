//! An orphan whose Instance is another by now.

use kilonova_crds::{ConditionStatus::False, condition::types::SCHEDULED, names};
use kilonova_e2e::cloud::{Cloud, InstanceHandle, NETWORK, Tenant, summary};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{alone, hand, on};

/// A running guest of the API's knowing nothing.
struct Lost {
    uuid: String,
    uid: String,
    boot: String,
    ip: String,
}

/// Takes an Instance and its Domain out of the API, while no controllers run.
async fn lose(cloud: &Cloud, instance: &InstanceHandle<'_>) -> Lost {
    let (uuid, ip) = (instance.uuid().await.unwrap(), instance.ip().await.unwrap());
    let boot = instance.boot_id().await.unwrap();
    let uid = hand::remove_by_force(cloud, instance).await;
    hand::delete_domain(cloud, "node-2", &uid).await;
    hand::listed(cloud, "node-2", &uuid).await;
    Lost {
        uuid,
        uid,
        boot,
        ip,
    }
}

/// It has that guest now, and the guest never noticed.
async fn took_over(instance: &InstanceHandle<'_>, lost: &Lost) {
    let taken = instance.ready("Running").await.unwrap();
    assert_ne!(taken.uid().unwrap(), lost.uid);
    let status = taken.status.unwrap();
    assert_eq!(status.uuid.as_ref(), Some(&lost.uuid));
    assert_eq!(status.node_name.as_deref(), Some("node-2"));
    hand::never_noticed(instance, &lost.ip, &lost.boot).await;
    let xml = instance.virsh("dumpxml", &[]).await.unwrap();
    let uid = taken.metadata.uid.unwrap();
    assert!(
        xml.contains(&format!("uid=\"{uid}\"")),
        "its metadata: {xml}"
    );
}

#[tokio::test]
async fn b68_an_instance_restored_without_status_finds_its_domain_again() {
    let (_alone, cloud) = alone().await;
    let shop = cloud.tenant("b68").await.unwrap();
    let same = shop.create("same", on("node-2", json!({}))).await.unwrap();
    let other = shop.create("other", on("node-2", json!({}))).await.unwrap();
    for instance in [&same, &other] {
        instance.ready("Running").await.unwrap();
    }
    let controllers = hand::without_controllers(&cloud);
    let lost = lose(&cloud, &same).await;
    let lost_other = lose(&cloud, &other).await;
    // As from a backup, without uid and status; no placement would choose node-2.
    let cordoned = cloud.cordon("node-2").await.unwrap();
    let same = shop.create("same", json!({})).await.unwrap();
    let heir = shop.object("Instance", "heir", &spec());
    cloud.apply(&[told(heir, &lost_other.uid)]).await.unwrap();
    drop(controllers);

    took_over(&same, &lost).await;
    took_over(&shop.instance("heir"), &lost_other).await;
    hand::none_listed(&cloud, "node-2").await;
    drop(cordoned);
    // It is its own by now: it goes with it.
    let (node, words) = (same.node().await.unwrap(), [&*lost.uuid]);
    let uid = same.get().await.unwrap().uid().unwrap();
    same.delete().await.unwrap();
    same.gone().await.unwrap();
    hand::nothing_left(&cloud, node, &words, &uid).await;
    shop.close().await.unwrap();
}

fn spec() -> Value {
    json!({
        "flavor": "tiny", "image": {"kind": "ClusterImage", "name": "guest"},
        "interfaces": [{"name": "eth0", "network": NETWORK}], "keyPairs": ["ops"],
    })
}

/// With the annotation by which it takes an orphan over.
fn told(mut object: Value, uid: &str) -> Value {
    object["metadata"]["annotations"] = json!({names::ADOPT_ANNOTATION: uid});
    object
}

#[tokio::test]
async fn b68_what_may_be_another_ones_waits_with_orphan_exists() {
    let (_alone, cloud) = alone().await;
    let shop = cloud.tenant("again").await.unwrap();
    let web = shop.create("web", on("node-2", json!({}))).await.unwrap();
    web.ready("Running").await.unwrap();
    let node = web.node().await.unwrap();
    let netns = web.netns().await.unwrap();
    let controllers = hand::without_controllers(&cloud);
    let lost = lose(&cloud, &web).await;
    remove(&cloud, shop).await;
    let shop = cloud.tenant("again").await.unwrap();
    let web = shop.create("web", json!({})).await.unwrap();
    drop(controllers);

    let waits = web
        .condition(SCHEDULED, False, "OrphanExists")
        .await
        .unwrap();
    let text = summary(&waits);
    assert!(
        text.contains("node-2") && text.contains(&lost.uid),
        "{text}"
    );
    assert_eq!(waits.status.unwrap().node_name, None);
    // The annotation is heard, but its Network is another: it would have an address of nobody's.
    let annotation = format!("{}={}", names::ADOPT_ANNOTATION, lost.uid);
    let args = ["annotate", "inst", "web", "-n", "again", &annotation];
    hand::kubectl(&cloud, args).await;
    web.until("why it cannot take it over", |i| {
        summary(i).contains("is in another Network")
    })
    .await
    .unwrap();
    let key = &cloud.key().private;
    let boot = "cat /proc/sys/kernel/random/boot_id";
    let answer = node.ssh(&netns, &lost.ip, key, boot).await.unwrap();
    assert_eq!(answer.stdout.trim(), lost.boot, "nobody touched it");

    // Somebody looked at it and removed it: there is nothing to wait for any more.
    let by_hand = format!(
        "virsh -q destroy {0}; rm -r /var/lib/kilonova/instances/{0}; virsh -q undefine {0}",
        lost.uuid
    );
    node.sh(&by_hand).await.unwrap();
    let new = web.ready("Running").await.unwrap();
    assert_ne!(new.status.unwrap().uuid, Some(lost.uuid));
    shop.close().await.unwrap();
}

/// Removes the tenant's namespace, while no controllers run.
async fn remove(cloud: &Cloud, shop: Tenant<'_>) {
    let namespace = shop.namespace().to_owned();
    let bare = r#"{"metadata": {"finalizers": null}}"#;
    shop.close().await.unwrap();
    let patch = [
        "patch",
        "network",
        NETWORK,
        "-n",
        &namespace,
        "--type=merge",
        "-p",
        bare,
    ];
    hand::kubectl(cloud, patch).await;
    let gone = [
        "wait",
        "--for=delete",
        "namespace",
        &namespace,
        "--timeout=120s",
    ];
    hand::kubectl(cloud, gone).await;
}
