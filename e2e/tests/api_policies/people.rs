//! Tenants and operators: what is refused whatever stars their roles have.

use kilonova_crds::names::INSTANCE_FINALIZER;
use kilonova_e2e::wait::{GENEROUS, wait_for};
use serde_json::{Value, json};

use crate::{
    HYPERVISORS,
    api_common::{ask, collection, good},
    condition, instance, named, no_right, refused, release,
    world::{NAMESPACE_1, NAMESPACE_2, hypervisor, world},
};

const BY_CONTROLLERS: &str = "removed by Kilonova's controllers";

#[tokio::test]
async fn a_tenant_with_stars_writes_no_status_and_removes_no_finalizer() {
    let world = world();
    let tenant = world.tenant().await;
    let path = instance(world, "starred").await;
    let status = format!("{path}/status");
    let claims = json!({"status": {"nodeName": "node-1"}});
    refused(ask(&tenant, "PATCH", &status, &claims).await, 403, "a status is written by Kilonova's controllers only");
    let mut whole = ask(&tenant, "GET", &path, &Value::Null).await.unwrap();
    whole["status"]["nodeName"] = json!("node-1");
    refused(ask(&tenant, "PUT", &status, &whole).await, 403, "a status is written by");
    let answer = ask(&tenant, "PUT", &path, &whole).await.unwrap();
    assert_eq!(answer["status"], json!({"observedGeneration": -1}), "the way round by the object itself");

    refused(ask(&tenant, "PATCH", &path, &json!({"metadata": {"finalizers": null}})).await, 403, BY_CONTROLLERS);
    refused(ask(&tenant, "PATCH", &path, &json!({"metadata": {"finalizers": ["shop/own"]}})).await, 403, BY_CONTROLLERS);
    refused(release(&tenant, &path, "1000").await, 403, BY_CONTROLLERS);
    let both = json!({"metadata": {"finalizers": ["shop/own", INSTANCE_FINALIZER]}});
    ask(&tenant, "PATCH", &path, &both).await.unwrap();
    ask(&tenant, "PATCH", &path, &json!({"metadata": {"finalizers": [INSTANCE_FINALIZER]}})).await.unwrap();

    ask(&tenant, "DELETE", &path, &Value::Null).await.unwrap();
    refused(ask(&tenant, "PATCH", &path, &json!({"metadata": {"finalizers": null}})).await, 403, BY_CONTROLLERS);
    release(&world.controllers().await, &path, "1000").await.unwrap();
    refused(ask(&tenant, "GET", &path, &Value::Null).await, 404, "not found");

    for kind in ["Domain", "Segment"] {
        let answer = ask(&tenant, "POST", &collection(kind, "shop"), &good(kind)).await;
        refused(answer, 403, "Domains and Segments are written by Kilonova's controllers only");
        no_right(ask(&tenant, "GET", &collection(kind, NAMESPACE_1), &Value::Null).await);
    }
}

#[tokio::test]
async fn an_operator_repairs_by_hand_only_with_the_permission_to() {
    let world = world();
    let (operator, repairer) = (world.operator().await, world.repairer().await);
    let path = instance(world, "repaired").await;
    let status = json!({"status": {"nodeName": "node-1"}});
    refused(ask(&operator, "PATCH", &format!("{path}/status"), &status).await, 403, "a status is written by");
    ask(&repairer, "PATCH", &format!("{path}/status"), &status).await.unwrap();
    refused(ask(&operator, "PATCH", &path, &json!({"metadata": {"finalizers": null}})).await, 403, BY_CONTROLLERS);
    ask(&repairer, "PATCH", &path, &json!({"metadata": {"finalizers": null}})).await.unwrap();

    let domains = collection("Domain", NAMESPACE_1);
    let domain = named(good("Domain"), "by-hand");
    refused(ask(&operator, "POST", &domains, &domain).await, 403, "written by Kilonova's controllers only");
    ask(&repairer, "POST", &domains, &domain).await.unwrap();
    refused(ask(&repairer, "POST", &collection("Domain", "shop"), &domain).await, 422, "in node namespaces only");
    let report = json!({"status": {"observedGeneration": 1, "outcome": "Purged"}});
    let by_agent = "the status of a Domain or Segment is written by the agent of its node only";
    refused(ask(&operator, "PATCH", &format!("{domains}/by-hand/status"), &report).await, 403, by_agent);
    refused(ask(&operator, "PATCH", &format!("{domains}/by-hand"), &json!({"spec": {"disposition": "Purge"}})).await, 403, "written by");
    // To delete one is harmless: it is made again.
    ask(&operator, "DELETE", &format!("{domains}/by-hand"), &Value::Null).await.unwrap();

    let marks = "which namespace is a node's, and whose, is written by Kilonova's controllers only";
    let moved = json!({"metadata": {"annotations": {"kilonova.dev/node": "node-2"}}});
    let namespace_1 = format!("/api/v1/namespaces/{NAMESPACE_1}");
    refused(ask(&operator, "PATCH", &namespace_1, &moved).await, 403, marks);
    refused(ask(&operator, "PATCH", &namespace_1, &json!({"metadata": {"labels": {"kilonova.dev/node-namespace": null}}})).await, 403, marks);
    let new = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new", "labels": {"kilonova.dev/node-namespace": ""}}});
    refused(ask(&operator, "POST", "/api/v1/namespaces", &new).await, 403, marks);
    ask(&operator, "PATCH", &namespace_1, &json!({"metadata": {"annotations": {"note": "rack 4"}}})).await.unwrap();
}

#[tokio::test]
async fn what_instances_depend_on_is_not_deleted_by_a_slip() {
    let world = world();
    let admin = world.admin().await;
    let says = "instances depend on this; if it must go, annotate it first: kubectl annotate";
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for path in [
        format!("{crds}/instances.kilonova.dev"),
        format!("{crds}/domains.node.kilonova.dev"),
        format!("/api/v1/namespaces/{NAMESPACE_2}"),
    ] {
        refused(ask(&admin, "DELETE", &path, &Value::Null).await, 403, says);
        let allow = |value: Value| json!({"metadata": {"annotations": {"kilonova.dev/allow-delete": value}}});
        ask(&admin, "PATCH", &path, &allow(json!("true"))).await.unwrap();
        ask(&admin, "DELETE", &format!("{path}?dryRun=All"), &Value::Null).await.unwrap();
        ask(&admin, "PATCH", &path, &allow(json!("no"))).await.unwrap();
        refused(ask(&admin, "DELETE", &path, &Value::Null).await, 403, says);
        ask(&admin, "PATCH", &path, &allow(Value::Null)).await.unwrap();
    }
    refused(ask(&admin, "DELETE", crds, &Value::Null).await, 403, says);
    let other = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}});
    ask(&admin, "POST", "/api/v1/namespaces", &other).await.unwrap();
    ask(&admin, "DELETE", "/api/v1/namespaces/other", &Value::Null).await.unwrap();

    let path = format!("{HYPERVISORS}/node-7");
    ask(&admin, "POST", HYPERVISORS, &hypervisor("node-7", &json!({}))).await.unwrap();
    let conditions = |ready: &str, used: &str| json!({"status": {"conditions": [condition("Ready", ready), condition("InUse", used)]}});
    let status = format!("{path}/status");
    ask(&world.controllers().await, "PATCH", &status, &conditions("True", "True")).await.unwrap();
    refused(ask(&admin, "DELETE", &path, &Value::Null).await, 403, "this Hypervisor is Ready and runs instances");
    for (ready, used) in [("True", "False"), ("Unknown", "True")] {
        ask(&world.controllers().await, "PATCH", &status, &conditions(ready, used)).await.unwrap();
        ask(&admin, "DELETE", &format!("{path}?dryRun=All"), &Value::Null).await.unwrap();
    }
}

#[tokio::test]
async fn a_namespace_goes_once_its_instances_are_gone() {
    let world = world();
    let (admin, controllers) = (world.admin().await, world.controllers().await);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "leaving"}});
    ask(&admin, "POST", "/api/v1/namespaces", &namespace).await.unwrap();
    let mut object = named(good("Instance"), "last");
    object["metadata"]["finalizers"] = json!([INSTANCE_FINALIZER]);
    ask(&admin, "POST", &collection("Instance", "leaving"), &object).await.unwrap();
    ask(&admin, "POST", &collection("Network", "leaving"), &good("Network")).await.unwrap();
    ask(&admin, "DELETE", "/api/v1/namespaces/leaving", &Value::Null).await.unwrap();
    let path = format!("{}/last", collection("Instance", "leaving"));
    wait_for("the Instance to be deleted with its namespace", GENEROUS, || async {
        let object = ask(&admin, "GET", &path, &Value::Null).await.map_err(|r| r.message)?;
        if object["metadata"]["deletionTimestamp"].is_null() { Err("it is not") } else { Ok(()) }.map_err(str::to_owned)
    })
    .await
    .unwrap();
    release(&controllers, &path, "1000").await.unwrap();
    wait_for("the namespace to be gone", GENEROUS, || async {
        match ask(&admin, "GET", "/api/v1/namespaces/leaving", &Value::Null).await {
            Err(refusal) if refusal.code == 404 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}
