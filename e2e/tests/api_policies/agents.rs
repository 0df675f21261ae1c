//! The agent's two tokens: what admission policies decide of their requests.

use serde_json::{Value, json};

use crate::{
    HYPERVISORS, INSTANCES,
    api_common::{ask, collection, good},
    condition, named, no_right, refused,
    world::{NAMESPACE_1, NAMESPACE_2, fenced, hypervisor, token_request, world},
};

#[tokio::test]
async fn an_agent_gets_the_token_of_its_own_node_and_no_other() {
    let world = world();
    let account = |namespace: &str, name: &str| format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
    let (own, other) = (account(NAMESPACE_1, "kilonova-node"), account(NAMESPACE_2, "kilonova-node"));
    let not_own = "an agent may ask for the token of its own node namespace only";
    for agent in [world.agent().await, world.agent_in_a_pod().await] {
        let answer = ask(&agent, "POST", &own, &token_request()).await.unwrap();
        assert!(answer["status"]["token"].as_str().unwrap().len() > 300);
        refused(ask(&agent, "POST", &other, &token_request()).await, 422, not_own);
        no_right(ask(&agent, "POST", &account(NAMESPACE_1, "default"), &token_request()).await);
        no_right(ask(&agent, "POST", &account("kilonova-system", "kilonova-controllers"), &token_request()).await);
    }
    let unbound = world.agent_without_node().await;
    refused(ask(&unbound, "POST", &own, &token_request()).await, 422, "must be bound to its Node");

    // A tenant who names an account as ours is named does not become a node.
    refused(ask(&world.agent().await, "POST", &account("shop", "kilonova-node"), &token_request()).await, 422, not_own);
}

#[tokio::test]
async fn an_agent_reports_its_own_hypervisor_and_no_other() {
    let world = world();
    let agent = world.agent().await;
    let apply = |path: String| format!("{path}?fieldManager=kilonova-agent&force=true");
    let (own, own_status) = (apply(format!("{HYPERVISORS}/node-1")), apply(format!("{HYPERVISORS}/node-1/status")));
    ask(&agent, "PATCH", &own, &hypervisor("node-1", &json!({}))).await.unwrap();
    let reported = json!({"observedGeneration": 1, "conditions": [condition("LibvirtReachable", "True")]});
    let mut object = hypervisor("node-1", &json!({}));
    object["status"] = reported;
    ask(&agent, "PATCH", &own_status, &object).await.unwrap();

    // The controllers' conditions stand beside the agent's, and stay when it reports again.
    let controllers = world.controllers().await;
    let ready = json!({"apiVersion": "kilonova.dev/v1alpha1", "kind": "Hypervisor", "metadata": {"name": "node-1"},
        "status": {"conditions": [condition("Ready", "True")]}});
    let as_controllers = format!("{HYPERVISORS}/node-1/status?fieldManager=kilonova-controllers&force=true");
    ask(&controllers, "PATCH", &as_controllers, &ready).await.unwrap();
    object["status"]["observedGeneration"] = json!(2);
    let answer = ask(&agent, "PATCH", &own_status, &object).await.unwrap();
    assert_eq!(answer["status"]["conditions"].as_array().unwrap().len(), 2, "{answer}");

    let theirs = "the conditions Ready and InUse of a Hypervisor are the controllers'";
    object["status"]["conditions"] = json!([condition("InUse", "False")]);
    refused(ask(&agent, "PATCH", &own_status, &object).await, 422, theirs);
    object["status"]["conditions"] = json!([condition("Ready", "False")]);
    refused(ask(&agent, "PATCH", &own_status, &object).await, 422, theirs);

    let spec = "a Hypervisor's spec is the operator's";
    refused(ask(&agent, "PATCH", &own, &hypervisor("node-1", &json!({"unschedulable": false}))).await, 422, spec);
    let not_own = "an agent may report the Hypervisor of its own node only";
    refused(ask(&agent, "PATCH", &apply(format!("{HYPERVISORS}/node-2")), &hypervisor("node-2", &json!({}))).await, 422, not_own);
    refused(ask(&world.agent_without_node().await, "PATCH", &own, &hypervisor("node-1", &json!({}))).await, 422, not_own);
    no_right(ask(&agent, "DELETE", &format!("{HYPERVISORS}/node-1"), &Value::Null).await);
    no_right(ask(&world.node().await, "PATCH", &own, &hypervisor("node-1", &json!({}))).await);
}

#[tokio::test]
async fn a_node_token_is_good_for_its_namespace_only() {
    let world = world();
    let (node, controllers) = (world.node().await, world.controllers().await);
    let domains = |namespace| collection("Domain", namespace);
    for namespace in [NAMESPACE_1, NAMESPACE_2] {
        ask(&controllers, "POST", &domains(namespace), &fenced(named(good("Domain"), "token"), "1000")).await.unwrap();
    }
    let report = json!({"status": {"observedGeneration": 1, "outcome": "Running"}});
    let answer = ask(&node, "PATCH", &format!("{}/token/status", domains(NAMESPACE_1)), &report).await.unwrap();
    assert_eq!(answer["status"]["outcome"], "Running");
    no_right(ask(&node, "PATCH", &format!("{}/token/status", domains(NAMESPACE_2)), &report).await);
    no_right(ask(&node, "PATCH", &format!("{}/token", domains(NAMESPACE_1)), &json!({"spec": {"vcpus": 2}})).await);
    no_right(ask(&node, "DELETE", &format!("{}/token", domains(NAMESPACE_1)), &Value::Null).await);
    ask(&node, "GET", &domains(NAMESPACE_1), &Value::Null).await.unwrap();
    no_right(ask(&node, "GET", &domains(NAMESPACE_2), &Value::Null).await);
    no_right(ask(&node, "GET", "/apis/node.kilonova.dev/v1alpha1/domains", &Value::Null).await);
    no_right(ask(&node, "GET", INSTANCES, &Value::Null).await);

    let namespace = ask(&node, "GET", &format!("/api/v1/namespaces/{NAMESPACE_1}"), &Value::Null).await.unwrap();
    assert_eq!(namespace["metadata"]["annotations"]["kilonova.dev/node"], "node-1");
    no_right(ask(&node, "GET", &format!("/api/v1/namespaces/{NAMESPACE_2}"), &Value::Null).await);
    no_right(ask(&node, "PATCH", &format!("/api/v1/namespaces/{NAMESPACE_1}"), &json!({"metadata": {"labels": {"a": "b"}}})).await);

    let leases = |namespace: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "kilonova-agent"}, "spec": {}});
    ask(&node, "POST", &leases(NAMESPACE_1), &lease).await.unwrap();
    let renewal = json!({"spec": {"holderIdentity": "node-1"}});
    ask(&node, "PATCH", &format!("{}/kilonova-agent", leases(NAMESPACE_1)), &renewal).await.unwrap();
    no_right(ask(&node, "POST", &leases(NAMESPACE_2), &lease).await);
    no_right(ask(&node, "PATCH", &format!("{}/kilonova-controllers", leases("kilonova-system")), &renewal).await);
}
