//! Instances that are removed by force.

use std::fs;

use kilonova_crds::{names, node::Disposition};
use kilonova_e2e::{
    cloud::Cloud,
    wait::{GENEROUS, wait_for},
};
use kube::ResourceExt;
use serde_json::json;

use crate::{alone, hand, on, shared};

/// The controllers' flag that says how long the disks of what was abandoned are kept, in seconds.
const RETENTION: &str = "--abandoned-retention-seconds";

#[tokio::test]
async fn b64_what_was_removed_by_force_is_shut_down_its_disk_kept_a_while_then_purged() {
    let (_alone, cloud) = alone().await;
    let shop = cloud.tenant("force").await.unwrap();
    let web = shop.create("web", on("node-1", json!({}))).await.unwrap();
    web.ready("Running").await.unwrap();
    web.sh("true").await.unwrap();
    let node = web.node().await.unwrap();
    let (uuid, tap) = (web.uuid().await.unwrap(), web.tap().await.unwrap());
    // A live leader would see the deletion: the finalizer goes where none does.
    let controllers = hand::without_controllers(&cloud);
    let uid = hand::remove_by_force(&cloud, &web).await;
    drop(controllers);

    wait_for("it to be undefined", GENEROUS, || async {
        let domains = node.virsh(["list", "--all", "--uuid"]).await;
        let domains = domains.map_err(|e| e.to_string())?;
        if domains.contains(&uuid) {
            Err(domains)
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    let links = node
        .sh("ip -o -all netns exec ip -o link; ip -o link")
        .await;
    assert!(!links.unwrap().contains(&tap), "it is unplugged");
    let log = node
        .state_dir()
        .join("instances")
        .join(&uuid)
        .join("console.log");
    let console = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
    assert!(
        console.contains("Power down"),
        "it was shut down: {console}"
    );
    let domain = hand::domains(&cloud, "node-1").get(&uid).await.unwrap();
    assert_eq!(domain.spec.disposition, Disposition::Release);
    assert!(
        domain
            .annotations()
            .contains_key(names::ABANDONED_ANNOTATION)
    );
    let disk = node
        .state_dir()
        .join("instances")
        .join(&uuid)
        .join("disk.qcow2");
    assert!(disk.exists(), "its disk is kept");

    retention(&cloud, Some("1"));
    hand::nothing_left(&cloud, node, &[&uuid], &uid).await;
    retention(&cloud, None);
    shop.close().await.unwrap();
}

/// Starts the controllers anew, with that retention or the default.
fn retention(cloud: &Cloud, seconds: Option<&str>) {
    let _stopped = hand::without_controllers(cloud);
    for replica in cloud.lab().controllers() {
        replica.configure(|launch| {
            launch
                .args
                .retain(|arg| !arg.to_string_lossy().starts_with(RETENTION));
            let flag = seconds.map(|seconds| format!("{RETENTION}={seconds}").into());
            launch.args.extend(flag);
        });
    }
}

#[tokio::test]
async fn b64_cascade_orphan_and_force_leave_nothing_behind() {
    let (_shared, cloud) = shared().await;
    let shop = cloud.tenant("flags").await.unwrap();
    let ways: [&[&str]; 2] = [&["--cascade=orphan"], &["--force", "--grace-period=0"]];
    for (name, flags) in ["cascade", "force"].into_iter().zip(ways) {
        let web = shop.create(name, on("node-1", json!({}))).await.unwrap();
        web.sh("true").await.unwrap();
        let (node, uuid) = (web.node().await.unwrap(), web.uuid().await.unwrap());
        let uid = web.get().await.unwrap().uid().unwrap();
        let delete = ["delete", "inst", name, "-n", "flags", "--wait=false"];
        let delete = delete.into_iter().chain(flags.iter().copied());
        hand::kubectl(&cloud, delete).await;
        web.gone().await.unwrap();
        hand::nothing_left(&cloud, node, &[&uuid], &uid).await;
    }
    shop.close().await.unwrap();
}
