//! Maintenance of a node: cordoned, and drained of its pods.

use std::time::Instant;

use kilonova_crds::{
    ConditionStatus::True,
    condition::{self, types::READY},
    v1alpha1::Hypervisor,
};
use kilonova_e2e::{
    cloud::{Cloud, summary},
    wait::{GENEROUS, wait_for},
};
use serde_json::{Value, json};

use crate::{
    cloud,
    hand::{boots, kubectl, on, took},
    never_noticed, one_on_each,
};

/// A pod that a drain has to evict: it is somebody's, and has data of its own.
fn pod(namespace: &str, node: &str) -> Value {
    let labels = json!({"app": "evicted"});
    let data = json!({"name": "data", "mountPath": "/data"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "evicted", "namespace": namespace},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node}, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "a", "image": "kilonova.dev/lab/pause:1", "volumeMounts": [data]}],
            "volumes": [{"name": "data", "emptyDir": {}}],
        }}},
    })
}

fn says(reason: &str) -> impl Fn(&Hypervisor) -> bool {
    move |hypervisor| {
        let status = hypervisor.status.as_ref();
        let ready = status.and_then(|s| condition::find(&s.conditions, READY));
        ready.is_some_and(|c| c.status == True && c.reason == reason)
    }
}

async fn pods_on(cloud: &Cloud, node: &str) -> String {
    let there = format!("spec.nodeName={node}");
    let args = [
        "get",
        "pods",
        "-A",
        "-o",
        "name",
        "--field-selector",
        &there,
    ];
    kubectl(cloud, args).await
}

#[tokio::test]
async fn b65_a_cordoned_node_gets_nothing_new_and_is_drained_under_its_guests() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let (node, other) = (cluster.node(0).name(), cluster.node(1).name());
    let shop = cloud.tenant("drain").await.unwrap();
    let evicted = pod(shop.namespace(), node);
    cloud.apply(&[evicted]).await.unwrap();
    let instances = one_on_each(&cloud, &shop).await;
    let boots = boots(&instances).await;
    wait_for("the pod to run", GENEROUS, || async {
        let args = [
            "-n",
            "drain",
            "rollout",
            "status",
            "deployment/evicted",
            "--timeout=100s",
        ];
        let output = cluster.kubectl(args).await.map_err(|e| e.to_string())?;
        output.checked().map_err(|e| e.to_string())
    })
    .await
    .unwrap();

    let cordoned = cloud.cordon(node).await.unwrap();
    cloud
        .hypervisor(node, "cordoned", says("Cordoned"))
        .await
        .unwrap();
    let table = kubectl(&cloud, ["get", "hypervisor", node]).await;
    let (head, row) = table.split_once('\n').unwrap();
    let column = head.find("CORDONED").unwrap();
    assert!(row[column..].starts_with("True"), "{table}");
    let anywhere = shop.create("anywhere", json!({})).await.unwrap();
    let here = shop.create("here", on(node, json!({}))).await.unwrap();
    anywhere.ready("Running").await.unwrap();
    assert_eq!(anywhere.machine().await.unwrap().name(), other);
    let waits = here
        .until("it to say what it waits for", |i| {
            summary(i).contains("1 cordoned")
        })
        .await
        .unwrap();
    assert_eq!(waits.status.unwrap().node_name, None);

    let start = Instant::now();
    let drain = [
        "drain",
        node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--timeout=100s",
    ];
    let said = kubectl(&cloud, drain).await;
    took("drain", start);
    assert!(said.contains("pod/evicted-"), "{said}");
    let left = pods_on(&cloud, node).await;
    let agents_only = left
        .lines()
        .all(|pod| pod.starts_with("pod/kilonova-agent-"));
    assert!(agents_only && left.lines().count() == 1, "{left}");
    never_noticed(&instances, &boots).await;

    drop(cordoned);
    cloud
        .hypervisor(node, "not cordoned", says("LeaseFresh"))
        .await
        .unwrap();
    here.ready("Running").await.unwrap();
    never_noticed(&instances, &boots).await;
    shop.close().await.unwrap();
    cloud.settled().await.unwrap();
    // Nothing else moves a replica back to where it was drained from.
    let controllers = ["-n", "kilonova-system", "deployment/kilonova-controllers"];
    for what in ["restart", "status"] {
        kubectl(&cloud, ["rollout", what].into_iter().chain(controllers)).await;
    }
}
