//! Guests outlive whatever ends around them on a node.

use kilonova_e2e::wait::{GENEROUS, wait_for};

use crate::{cloud, hand::written, never_noticed, one_on_each};

#[tokio::test]
async fn guests_outlive_the_agents_pod_the_kubelet_and_containerd() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let shop = cloud.tenant("outlive").await.unwrap();
    let instances = one_on_each(&cloud, &shop).await;
    let mut boots = Vec::new();
    for instance in &instances {
        let node = instance.machine().await.unwrap().name();
        assert!(
            instance.name().ends_with(node),
            "{} is on {node}",
            instance.name()
        );
        boots.push(instance.boot_id().await.unwrap());
    }

    let before = cluster.audit().unwrap().len();
    let agents = ["-n", "kilonova-agents", "delete", "pod", "--all", "--wait"];
    cluster.kubectl(agents).await.unwrap().checked().unwrap();
    cluster.node(0).kill("kubelet").await.unwrap();
    cluster.node(1).kill("containerd").await.unwrap();
    let rolled_out = [
        "-n",
        "kilonova-agents",
        "rollout",
        "status",
        "daemonset",
        "--timeout=100s",
    ];
    wait_for("the agents' pods to be ready again", GENEROUS, || async {
        let output = cluster
            .kubectl(rolled_out)
            .await
            .map_err(|e| e.to_string())?;
        output.checked().map_err(|e| e.to_string())
    })
    .await
    .unwrap();
    for node in cluster.nodes() {
        cluster.until_ready(node, true).await.unwrap();
    }
    cloud.hypervisors_ready().await.unwrap();

    never_noticed(&instances, &boots).await;
    let nodes: Vec<_> = cluster.nodes().iter().collect();
    let again = written(cluster, before, &nodes, &shop);
    assert!(again.is_empty(), "nothing had changed: {again:?}");
    // The agents of now do what they are told.
    for instance in &instances {
        instance.delete().await.unwrap();
    }
    for instance in &instances {
        instance.gone().await.unwrap();
    }
    shop.close().await.unwrap();
}
