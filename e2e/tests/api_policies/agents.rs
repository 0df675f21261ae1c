//! The agent's two tokens: what admission policies decide of their requests.

use serde_json::json;

use crate::{
    HYPERVISORS, INSTANCES,
    api_common::{Answer as _, collection, good},
    condition, named,
    world::{NAMESPACE_1, NAMESPACE_2, fenced, hypervisor, token_request, world},
};

#[tokio::test]
async fn an_agent_gets_the_token_of_its_own_node_and_no_other() {
    let world = world();
    let account = |namespace: &str, name: &str| {
        format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token")
    };
    let (own, other) = (
        account(NAMESPACE_1, "kilonova-node"),
        account(NAMESPACE_2, "kilonova-node"),
    );
    let not_own = "an agent may ask for the token of its own node namespace only";
    for agent in [world.agent().await, world.agent_in_a_pod().await] {
        let answer = agent.post(&own, &token_request()).await.unwrap();
        assert!(answer["status"]["token"].as_str().unwrap().len() > 300);
        agent
            .post(&other, &token_request())
            .await
            .refused(422, not_own);
        agent
            .post(&account(NAMESPACE_1, "default"), &token_request())
            .await
            .no_right();
        agent
            .post(
                &account("kilonova-system", "kilonova-controllers"),
                &token_request(),
            )
            .await
            .no_right();
    }
    let unbound = world.agent_without_node().await;
    unbound
        .post(&own, &token_request())
        .await
        .refused(422, "must be bound to its Node");

    // A tenant who names an account as ours is named does not become a node.
    world
        .agent()
        .await
        .post(&account("shop", "kilonova-node"), &token_request())
        .await
        .refused(422, not_own);
}

#[tokio::test]
async fn an_agent_reports_its_own_hypervisor_and_no_other() {
    let world = world();
    let agent = world.agent().await;
    let apply = |path: String| format!("{path}?fieldManager=kilonova-agent&force=true");
    let (own, own_status) = (
        apply(format!("{HYPERVISORS}/node-1")),
        apply(format!("{HYPERVISORS}/node-1/status")),
    );
    agent
        .patch(&own, &hypervisor("node-1", &json!({})))
        .await
        .unwrap();
    let reported =
        json!({"observedGeneration": 1, "conditions": [condition("LibvirtReachable", "True")]});
    let mut object = hypervisor("node-1", &json!({}));
    object["status"] = reported;
    agent.patch(&own_status, &object).await.unwrap();

    // The controllers' conditions stand beside the agent's, and stay when it reports again.
    let controllers = world.controllers().await;
    let ready = json!({"apiVersion": "kilonova.dev/v1alpha1", "kind": "Hypervisor", "metadata": {"name": "node-1"},
        "status": {"conditions": [condition("Ready", "True")]}});
    let as_controllers =
        format!("{HYPERVISORS}/node-1/status?fieldManager=kilonova-controllers&force=true");
    controllers.patch(&as_controllers, &ready).await.unwrap();
    object["status"]["observedGeneration"] = json!(2);
    let answer = agent.patch(&own_status, &object).await.unwrap();
    assert_eq!(
        answer["status"]["conditions"].as_array().unwrap().len(),
        2,
        "{answer}"
    );

    let theirs = "the conditions Ready and InUse of a Hypervisor are the controllers'";
    object["status"]["conditions"] = json!([condition("InUse", "False")]);
    agent.patch(&own_status, &object).await.refused(422, theirs);
    object["status"]["conditions"] = json!([condition("Ready", "False")]);
    agent.patch(&own_status, &object).await.refused(422, theirs);

    let spec = "a Hypervisor's spec is the operator's";
    agent
        .patch(
            &own,
            &hypervisor("node-1", &json!({"unschedulable": false})),
        )
        .await
        .refused(422, spec);
    let not_own = "an agent may report the Hypervisor of its own node only";
    agent
        .patch(
            &apply(format!("{HYPERVISORS}/node-2")),
            &hypervisor("node-2", &json!({})),
        )
        .await
        .refused(422, not_own);
    world
        .agent_without_node()
        .await
        .patch(&own, &hypervisor("node-1", &json!({})))
        .await
        .refused(422, not_own);
    agent
        .delete(&format!("{HYPERVISORS}/node-1"))
        .await
        .no_right();
    world
        .node()
        .await
        .patch(&own, &hypervisor("node-1", &json!({})))
        .await
        .no_right();
}

#[tokio::test]
async fn a_node_token_is_good_for_its_namespace_only() {
    let world = world();
    let (node, controllers) = (world.node().await, world.controllers().await);
    let domains = |namespace| collection("Domain", namespace);
    for namespace in [NAMESPACE_1, NAMESPACE_2] {
        controllers
            .post(
                &domains(namespace),
                &fenced(named(good("Domain"), "token"), "1000"),
            )
            .await
            .unwrap();
    }
    let report = json!({"status": {"observedGeneration": 1, "outcome": "Running"}});
    let answer = node
        .patch(&format!("{}/token/status", domains(NAMESPACE_1)), &report)
        .await
        .unwrap();
    assert_eq!(answer["status"]["outcome"], "Running");
    node.patch(&format!("{}/token/status", domains(NAMESPACE_2)), &report)
        .await
        .no_right();
    node.patch(
        &format!("{}/token", domains(NAMESPACE_1)),
        &json!({"spec": {"vcpus": 2}}),
    )
    .await
    .no_right();
    node.delete(&format!("{}/token", domains(NAMESPACE_1)))
        .await
        .no_right();
    node.get(&domains(NAMESPACE_1)).await.unwrap();
    node.get(&domains(NAMESPACE_2)).await.no_right();
    node.get("/apis/node.kilonova.dev/v1alpha1/domains")
        .await
        .no_right();
    node.get(INSTANCES).await.no_right();
}

#[tokio::test]
async fn a_node_token_reads_its_namespace_and_renews_its_lease() {
    let node = world().node().await;
    let namespace = node
        .get(&format!("/api/v1/namespaces/{NAMESPACE_1}"))
        .await
        .unwrap();
    assert_eq!(
        namespace["metadata"]["annotations"]["kilonova.dev/node"],
        "node-1"
    );
    node.get(&format!("/api/v1/namespaces/{NAMESPACE_2}"))
        .await
        .no_right();
    node.patch(
        &format!("/api/v1/namespaces/{NAMESPACE_1}"),
        &json!({"metadata": {"labels": {"a": "b"}}}),
    )
    .await
    .no_right();

    let leases =
        |namespace: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "kilonova-agent"}, "spec": {}});
    node.post(&leases(NAMESPACE_1), &lease).await.unwrap();
    let renewal = json!({"spec": {"holderIdentity": "node-1"}});
    node.patch(&format!("{}/kilonova-agent", leases(NAMESPACE_1)), &renewal)
        .await
        .unwrap();
    node.post(&leases(NAMESPACE_2), &lease).await.no_right();
    node.patch(
        &format!("{}/kilonova-controllers", leases("kilonova-system")),
        &renewal,
    )
    .await
    .no_right();
}
