//! Instances that are deleted in ways that people find: with flags, and with their namespace.

use std::time::{Duration, Instant};

use kube::ResourceExt;
use serde_json::json;

use crate::{
    cloud,
    hand::{kubectl, nothing_left, on, took},
    one_on_each,
};

/// The grace of a guest that does not hear.
const GRACE: u64 = 20;

#[tokio::test]
async fn b64_no_flag_of_a_deletion_leaves_a_domain() {
    let (_alone, cloud) = cloud().await;
    let node = cloud.cluster().unwrap().node(0);
    let shop = cloud.tenant("flags").await.unwrap();
    let ways: [&[&str]; 2] = [&["--cascade=orphan"], &["--force", "--grace-period=0"]];
    let mut instances = Vec::new();
    for name in ["cascade", "force"] {
        instances.push(shop.create(name, on(node.name(), json!({}))).await.unwrap());
    }
    for (instance, flags) in instances.iter().zip(ways) {
        instance.ready("Running").await.unwrap();
        let uuid = instance.uuid().await.unwrap();
        let uid = instance.get().await.unwrap().uid().unwrap();
        let delete = [
            "delete",
            "inst",
            instance.name(),
            "-n",
            "flags",
            "--wait=false",
        ];
        let delete = delete.into_iter().chain(flags.iter().copied());
        kubectl(&cloud, delete).await;
        instance.gone().await.unwrap();
        nothing_left(&cloud, node, &uuid, &uid).await;
    }
    shop.close().await.unwrap();
}

#[tokio::test]
async fn b64_a_namespace_goes_with_its_guests_soon_where_they_hear_and_after_their_grace_where_not()
{
    let (_alone, cloud) = cloud().await;
    let heard = cloud.tenant("heard").await.unwrap();
    let hearing = one_on_each(&cloud, &heard).await;
    let deaf = cloud.tenant("deaf").await.unwrap();
    let spec = json!({"terminationGracePeriodSeconds": GRACE});
    let lone = deaf.create("lone", spec).await.unwrap();
    lone.ready("Running").await.unwrap();
    lone.sh("killall acpid").await.unwrap();
    let mut traces = Vec::new();
    for instance in hearing.iter().chain([&lone]) {
        let (node, uuid) = (
            instance.machine().await.unwrap(),
            instance.uuid().await.unwrap(),
        );
        traces.push((node, uuid, instance.get().await.unwrap().uid().unwrap()));
    }

    // The aims are 30 s, and 15 s more than the grace; a machine that others use gets twice as much.
    for (tenant, aim) in [(&heard, 30), (&deaf, GRACE + 15)] {
        let start = Instant::now();
        let delete = ["delete", "namespace", tenant.namespace(), "--timeout=110s"];
        kubectl(&cloud, delete).await;
        took(&format!("namespace {}", tenant.namespace()), start);
        assert!(start.elapsed() < Duration::from_secs(2 * aim));
    }
    for (node, uuid, uid) in traces {
        nothing_left(&cloud, node, &uuid, &uid).await;
    }
}
