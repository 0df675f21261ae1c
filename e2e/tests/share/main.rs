//! Instances beside pods: what the real scheduler of pods makes of a share, and what ours does.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]

use k8s_openapi::api::core::v1::{Node, Pod};
use kilonova_crds::{ConditionStatus::False, condition::types::READY};
use kilonova_e2e::{
    build::Helm,
    cloud::{Cloud, summary},
    lab::{LabOptions, NodeOptions},
    process::run,
    repo,
    wait::{GENEROUS, wait_for},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

/// The share of the lab's node, as the chart's values have it.
const SHARE: [(&str, &str); 2] = [("vcpus", "2"), ("memory", "1Gi")];

/// The pod that the chart's placeholder makes on each node.
async fn placeholder() -> Value {
    let mut command = Helm::find().unwrap().command();
    let chart = repo::root().join("charts/kilonova");
    command.args(["template", "kilonova"]).arg(chart);
    command.args(["--show-only", "templates/agents/placeholder.yaml"]);
    for (what, size) in SHARE {
        let value = format!("agents.groups.default.share.{what}={size}");
        command.args(["--set", &value]);
    }
    let rendered = run(command, "").await.unwrap().checked().unwrap();
    let set: Value = serde_saphyr::from_str(&rendered.stdout).unwrap();
    set["spec"]["template"]["spec"].clone()
}

fn pods(client: Client) -> Api<Pod> {
    Api::namespaced(client, "default")
}

fn asking_for(memory: &str) -> Value {
    let requests = json!({"cpu": "100m", "memory": memory});
    let resources = json!({"requests": requests});
    json!({"containers": [{"name": "a", "image": "none", "resources": resources}]})
}

async fn create(client: Client, name: &str, spec: &Value) {
    let pod = json!({"metadata": {"name": name}, "spec": spec});
    let pod = serde_json::from_value(pod).unwrap();
    let params = PostParams::default();
    let made = wait_for("the pod to be taken", GENEROUS, || async {
        // The account of the namespace comes a moment after it.
        pods(client.clone()).create(&params, &pod).await
    });
    made.await.unwrap();
}

/// Waits until the scheduler has said of the pod where it goes, or why it waits.
async fn verdict(client: Client, name: &str) -> Result<String, String> {
    let found = wait_for(format!("a verdict on {name}"), GENEROUS, || async {
        let pod = pods(client.clone()).get(name).await.unwrap();
        let node = pod.spec.and_then(|spec| spec.node_name);
        let conditions = pod.status.and_then(|status| status.conditions);
        let waits = conditions.unwrap_or_default();
        let waits = waits.into_iter().find(|c| c.type_ == "PodScheduled");
        match (node, waits.filter(|c| c.status == "False")) {
            (Some(node), _) => Ok(Ok(node)),
            (None, Some(why)) => Ok(Err(why.message.unwrap_or_default())),
            (None, None) => Err("nothing said"),
        }
    });
    found.await.unwrap()
}

#[tokio::test]
async fn neither_scheduler_gives_away_what_the_other_has() {
    let node = NodeOptions {
        agent_args: SHARE
            .map(|(what, size)| format!("--share-{what}={size}"))
            .to_vec(),
        ..NodeOptions::new("node-1")
    };
    let options = LabOptions::new("share").node(node).scheduler();
    let cloud = Cloud::start(options).await.unwrap();
    let client = cloud.client();
    let size = json!({"cpu": "4", "memory": "4Gi", "ephemeral-storage": "20Gi", "pods": "20"});
    let patch = Patch::Merge(json!({"status": {"capacity": size, "allocatable": size}}));
    Api::<Node>::all(client.clone())
        .patch_status("node-1", &PatchParams::default(), &patch)
        .await
        .unwrap();

    let hypervisor = cloud.hypervisor("node-1", "its share", |hypervisor| {
        let status = hypervisor.status.as_ref();
        status.is_some_and(|status| status.share.is_some())
    });
    let share = hypervisor.await.unwrap().status.unwrap().share.unwrap();
    let (vcpus, memory) = (share.vcpus.unwrap(), share.memory.unwrap());
    let wide = cloud.lab().kubectl(["get", "hv", "-o", "wide"]).await;
    let wide = wide.unwrap().checked().unwrap().stdout;
    assert!(
        wide.contains("SHARE MEMORY") && wide.contains("1Gi"),
        "{wide}"
    );

    let placeholder = placeholder().await;
    let requests = &placeholder["containers"][0]["resources"]["requests"];
    let asked = json!({"cpu": vcpus.to_string(), "memory": memory});
    assert_eq!(requests, &asked, "just what instances may use");
    create(client.clone(), "placeholder", &placeholder).await;
    let bound = verdict(client.clone(), "placeholder").await;
    assert_eq!(bound.as_deref(), Ok("node-1"));
    create(client.clone(), "fits", &asking_for("2Gi")).await;
    let bound = verdict(client.clone(), "fits").await;
    assert_eq!(bound.as_deref(), Ok("node-1"));
    create(client.clone(), "too-large", &asking_for("1536Mi")).await;
    let waits = verdict(client.clone(), "too-large").await.unwrap_err();
    assert!(waits.contains("Insufficient memory"), "{waits}");

    // The node has more memory than its share; an Instance that needs more than the share waits.
    let flavor = |name: &str, memory: &str| {
        json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": "Flavor", "metadata": {"name": name},
            "spec": {"vcpus": 1, "memory": memory, "disk": "256Mi"},
        })
    };
    cloud
        .apply(&[flavor("more", "1025Mi"), flavor("half", "512Mi")])
        .await
        .unwrap();
    let shop = cloud.tenant("share").await.unwrap();
    let more = shop
        .create("more", json!({"flavor": "more"}))
        .await
        .unwrap();
    let waits = more.condition(READY, False, "NoValidHost").await.unwrap();
    assert!(summary(&waits).contains("too little memory"), "{waits:?}");
    let off = json!({"flavor": "half", "power": "Off"});
    for name in ["one", "two"] {
        let half = shop.create(name, off.clone()).await.unwrap();
        half.ready("Stopped").await.unwrap();
    }
    let third = shop.create("three", off).await.unwrap();
    third.condition(READY, False, "NoValidHost").await.unwrap();
}
