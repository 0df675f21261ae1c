//! A strict cluster whose one node has no libvirt: what an operator is told, step by step, until an instance runs.

use kilonova_crds::{
    ConditionStatus::False,
    condition::{self, types::SCHEDULED},
};
use kilonova_e2e::{
    build::images,
    cloud::{Cloud, summary},
    cluster::{Cluster, ClusterNodeOptions, ClusterOptions},
    wait::{GENEROUS, wait_for},
};
use serde_json::{Value, json};

use crate::{alone, hand::kubectl};

/// A namespace that the cluster's own level of Pod Security holds for.
const STRICT: &str = "strict";
/// Of each set of agents.
const AGENTS: &str = "app.kubernetes.io/component=agent";

async fn agents(cloud: &Cloud, namespace: &str) -> Value {
    let args = ["get", "pods", "-n", namespace, "-l", AGENTS, "-o", "json"];
    serde_json::from_str(&kubectl(cloud, args).await).unwrap()
}

/// `helm test`, which fails: what it says.
async fn tested(cluster: &Cluster) -> String {
    let output = cluster
        .helm(["test", "kilonova", "--logs", "--timeout", "2m"])
        .await
        .unwrap();
    assert!(!output.success(), "{}", output.stdout);
    output.stdout + &output.stderr
}

/// The state of the one agent's pod: ready, and how often it was started again.
async fn agent_is_ready(cloud: &Cloud) -> Value {
    wait_for("the agent's pod to be ready", GENEROUS, || async {
        let pods = agents(cloud, STRICT).await;
        let pod = pods["items"][0].clone();
        if pod["status"]["containerStatuses"][0]["ready"] == true {
            Ok(pod)
        } else {
            Err(pod["status"].to_string())
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn refused_pods_and_a_node_without_libvirt_are_said_and_mended_step_by_step() {
    let _alone = alone().await;
    let node = ClusterNodeOptions {
        libvirt: false,
        ..ClusterNodeOptions::new("node-1")
    };
    let options = ClusterOptions::new("bare", 0).node(node);
    let cluster = Cluster::start(options.images(images::product().unwrap()))
        .await
        .unwrap();
    cluster
        .kubectl(["create", "namespace", STRICT])
        .await
        .unwrap()
        .checked()
        .unwrap();
    let settings = format!(
        "agents.namespace.name={STRICT},agents.namespace.create=false,test.timeoutSeconds=5"
    );
    let notes = cluster
        .install_at_once(&["--set", &settings])
        .await
        .unwrap();
    let label =
        format!("kubectl label namespace {STRICT} pod-security.kubernetes.io/enforce=privileged");
    assert!(notes.contains(&label), "{notes}");
    let cloud = Cloud::on(cluster).await.unwrap();
    let cluster = cloud.cluster().unwrap();
    let rollout = [
        "rollout",
        "status",
        "-n",
        "kilonova-system",
        "deployment",
        "--timeout=110s",
    ];
    kubectl(&cloud, rollout).await;
    let said = tested(cluster).await;
    assert!(
        said.contains("node group default: 0 of 1 agents are ready"),
        "{said}"
    );
    assert!(
        said.contains(r#"violates PodSecurity "baseline:latest": "#),
        "{said}"
    );

    // As the notes say it.
    kubectl(&cloud, label.split(' ').skip(1)).await;
    let pod = agent_is_ready(&cloud).await;
    let lacks = |h: &kilonova_crds::v1alpha1::Hypervisor| {
        let status = h.status.as_ref();
        let libvirt = status.and_then(|s| condition::find(&s.conditions, "LibvirtReady"));
        libvirt
            .is_some_and(|c| c.status == False && c.message.contains("install and start libvirtd"))
    };
    cloud
        .hypervisor("node-1", "what it lacks", lacks)
        .await
        .unwrap();
    let said = tested(cluster).await;
    assert!(
        said.contains("node group default: no Hypervisor is ready"),
        "{said}"
    );
    assert!(said.contains("node node-1: "), "{said}");
    assert!(said.contains("install and start libvirtd"), "{said}");
    let shop = cloud.tenant("shop").await.unwrap();
    let web = shop.create("web", json!({})).await.unwrap();
    let waits = web
        .condition(SCHEDULED, False, "NoValidHost")
        .await
        .unwrap();
    assert!(
        summary(&waits).contains("0/1 hypervisors: 1 not ready"),
        "{}",
        summary(&waits)
    );

    // As the condition says it.
    let node = cluster.node(0);
    node.sh("virtlogd -d; libvirtd -d").await.unwrap();
    web.ready("Running").await.unwrap();
    web.sh("true").await.unwrap();
    let same = agent_is_ready(&cloud).await;
    assert_eq!(same["metadata"]["uid"], pod["metadata"]["uid"]);
    assert_eq!(same["status"]["containerStatuses"][0]["restartCount"], 0);
    let passes = cluster.helm(["test", "kilonova"]).await.unwrap();
    passes.checked().unwrap();
}
