//! Domain objects that vanish: the guest runs on and is served, the node tells of it, and the controllers make its
//! Domain again.

use std::collections::BTreeSet;

use kilonova_crds::{names, node::RootDisk};
use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle, inventory},
    wait::{GENEROUS, wait_for},
};
use kube::ResourceExt;
use serde_json::json;

use crate::{alone, hand, on, shared};

#[tokio::test]
async fn a_domain_that_is_deleted_is_made_again_and_the_guest_never_notices() {
    let (_shared, cloud) = shared().await;
    let shop = cloud.tenant("vanish").await.unwrap();
    let web = shop.create("web", on("node-1", json!({}))).await.unwrap();
    let uid = web.ready("Running").await.unwrap().uid().unwrap();
    let (boot, ip) = (web.boot_id().await.unwrap(), web.ip().await.unwrap());
    let before = hand::domains(&cloud, "node-1").get(&uid).await.unwrap();

    hand::delete_domain(&cloud, "node-1", &uid).await;
    again(&cloud, &uid, &before.uid().unwrap()).await;
    web.ready("Running").await.unwrap();
    hand::never_noticed(&web, &ip, &boot).await;
    shop.close().await.unwrap();
}

/// Waits until the Domain is another object, whose root disk is none to be made.
async fn again(cloud: &Cloud, uid: &str, before: &str) {
    let domains = hand::domains(cloud, "node-1");
    let made = wait_for("the Domain to be made again", GENEROUS, || async {
        let found = domains.get_opt(uid).await.map_err(|e| e.to_string())?;
        found
            .filter(|d| d.uid().as_deref() != Some(before))
            .ok_or_else(|| "none but the old one".to_owned())
    })
    .await
    .unwrap();
    assert_eq!(made.spec.root_disk, RootDisk::Existing);
}

#[tokio::test]
async fn in_an_emptied_node_namespace_all_is_held_served_and_listed() {
    let (_alone, cloud) = alone().await;
    let shop = cloud.tenant("emptied").await.unwrap();
    let web = shop.create("web", on("node-1", json!({}))).await.unwrap();
    let off = on("node-1", json!({"power": "Off"}));
    let off = shop.create("off", off).await.unwrap();
    off.ready("Stopped").await.unwrap();
    let before = web.ready("Running").await.unwrap();
    let (boot, ip) = (web.boot_id().await.unwrap(), web.ip().await.unwrap());
    let agent = &hand::agent(&cloud, "node-1")[0];
    let had = settled(&cloud).await;

    let controllers = hand::without_controllers(&cloud);
    hand::empty(&cloud, "node-1").await;
    is_described(&cloud, &web).await;
    is_described(&cloud, &off).await;
    hand::never_noticed(&web, &ip, &boot).await;
    agent.kill().unwrap();
    agent.start().unwrap();
    hand::renewed(&cloud, "node-1").await;
    hand::never_noticed(&web, &ip, &boot).await;
    let has = settled(&cloud).await;
    let differences: Vec<_> = has.symmetric_difference(&had).collect();
    assert!(differences.is_empty(), "{differences:#?}");

    drop(controllers);
    hand::none_listed(&cloud, "node-1").await;
    let after = web.ready("Running").await.unwrap();
    off.ready("Stopped").await.unwrap();
    let binding = |i: &kilonova_crds::Instance| {
        let status = i.status.clone().unwrap();
        (status.uuid, status.node_name, status.interfaces)
    };
    assert_eq!(binding(&after), binding(&before));
    hand::never_noticed(&web, &ip, &boot).await;
    // It is obeyed again.
    off.power("On").await.unwrap();
    off.ready("Running").await.unwrap();
    shop.close().await.unwrap();
}

/// What is on the node once what other tests had there is gone: two looks in a row see the same. A look fails where a
/// netns goes under it.
async fn settled(cloud: &Cloud) -> BTreeSet<String> {
    cloud.settled().await.unwrap();
    let node = cloud.lab().node(0);
    wait_for("the node to be at rest", GENEROUS, || async {
        let first = inventory(node).await.map_err(|e| e.to_string())?;
        let second = inventory(node).await.map_err(|e| e.to_string())?;
        let moving: Vec<_> = first.symmetric_difference(&second).collect();
        if moving.is_empty() {
            Ok(second)
        } else {
            Err(format!("{moving:?}"))
        }
    })
    .await
    .unwrap()
}

/// The node lists it with all that placement must not give away twice.
async fn is_described(cloud: &Cloud, instance: &InstanceHandle<'_>) {
    let object = instance.get().await.unwrap();
    let status = object.status.clone().unwrap();
    let orphan = hand::listed(cloud, "node-1", status.uuid.as_ref().unwrap()).await;
    assert_eq!(orphan.name, instance.name());
    assert_eq!(orphan.namespace, instance.namespace());
    assert_eq!(Some(&orphan.uid), object.metadata.uid.as_ref());
    let claim = status.claim.unwrap();
    let sizes = (orphan.claim.vcpus, orphan.claim.memory, orphan.claim.disk);
    assert_eq!(sizes, (claim.vcpus, claim.memory, claim.disk));
    let (port, interface) = (&orphan.ports[0], &status.interfaces[0]);
    assert_eq!(port.mac, interface.mac);
    assert_eq!(port.network_uid, interface.network_uid);
    assert_eq!(port.ips, [interface.ips[0].ip.clone()]);
}

#[tokio::test]
async fn a_node_namespace_that_is_deleted_comes_back_and_the_guest_never_notices() {
    let (_alone, cloud) = alone().await;
    let shop = cloud.tenant("nodegone").await.unwrap();
    let web = shop.create("web", on("node-1", json!({}))).await.unwrap();
    let uid = web.ready("Running").await.unwrap().uid().unwrap();
    let (boot, ip) = (web.boot_id().await.unwrap(), web.ip().await.unwrap());
    let before = hand::domains(&cloud, "node-1").get(&uid).await.unwrap();

    let namespace = names::node_namespace("node-1");
    let delete = ["delete", "namespace", &namespace];
    let refused = cloud.lab().kubectl(delete).await.unwrap();
    assert!(
        refused.stderr.contains("annotate it first"),
        "{}",
        refused.stderr
    );
    let allow = format!("{}=true", names::ALLOW_DELETE_ANNOTATION);
    hand::kubectl(&cloud, ["annotate", "namespace", &namespace, &allow]).await;
    hand::kubectl(&cloud, delete).await;

    again(&cloud, &uid, &before.uid().unwrap()).await;
    hand::none_listed(&cloud, "node-1").await;
    web.ready("Running").await.unwrap();
    hand::never_noticed(&web, &ip, &boot).await;
    // It is obeyed again.
    web.power("Paused").await.unwrap();
    web.ready("Paused").await.unwrap();
    shop.close().await.unwrap();
}
