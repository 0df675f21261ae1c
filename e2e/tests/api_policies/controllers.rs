//! The controllers: fenced by their Lease, and kept to what is theirs.

use kilonova_crds::names::{INSTANCE_FINALIZER, LEADER_ANNOTATION};
use kilonova_e2e::wait::{GENEROUS, wait_for};
use serde_json::{Value, json};

use crate::{
    INSTANCES,
    api_common::{ask, collection, good},
    instance, named, no_right, refused, release,
    world::{NAMESPACE_1, NAMESPACE_2, fenced, role_binding, world},
};

#[tokio::test]
async fn a_leader_that_is_no_more_writes_nothing() {
    let world = world();
    let controllers = world.controllers().await;
    let domains = collection("Domain", NAMESPACE_2);
    let write = |name: &str, transition: &str| fenced(named(good("Domain"), name), transition);
    let late = "written by a leader that is no more";
    ask(&controllers, "POST", &domains, &write("fence-1", "7")).await.unwrap();
    refused(ask(&controllers, "POST", &domains, &write("fence-2", "6")).await, 422, late);
    refused(ask(&controllers, "POST", &domains, &write("fence-2", "now")).await, 422, late);
    refused(ask(&controllers, "POST", &domains, &named(good("Domain"), "fence-2")).await, 422, late);
    let path = instance(world, "fenced").await;
    refused(ask(&controllers, "PATCH", &path, &json!({"metadata": {"finalizers": null}})).await, 422, late);
    refused(release(&controllers, &path, "6").await, 422, late);

    let lease = "/apis/coordination.k8s.io/v1/namespaces/kilonova-system/leases/kilonova-controllers";
    ask(&controllers, "PATCH", lease, &json!({"spec": {"leaseTransitions": 8}})).await.unwrap();
    let change = json!({"metadata": {"annotations": {LEADER_ANNOTATION: "7"}}, "spec": {"power": "Off"}});
    wait_for("the fence to follow the Lease", GENEROUS, || async {
        match ask(&controllers, "PATCH", &format!("{domains}/fence-1?dryRun=All"), &change).await {
            Err(refusal) if refusal.message.contains(late) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    refused(release(&controllers, &path, "7").await, 422, late);
    release(&controllers, &path, "8").await.unwrap();
    let change = json!({"metadata": {"annotations": {LEADER_ANNOTATION: "8"}}, "spec": {"power": "Off"}});
    ask(&controllers, "PATCH", &format!("{domains}/fence-1"), &change).await.unwrap();
    ask(&controllers, "DELETE", &format!("{domains}/fence-1"), &Value::Null).await.unwrap();
}

#[tokio::test]
async fn the_controllers_write_for_nodes_and_nothing_else() {
    let world = world();
    let controllers = world.controllers().await;
    let dry = |path: &str| format!("{path}?dryRun=All");
    let of_nodes = "the controllers write namespaces, accounts and bindings of nodes only";
    let namespace = |name: &str, labels: Value| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    };
    let label = json!({"kilonova.dev/node-namespace": ""});
    let namespaces = dry("/api/v1/namespaces");
    ask(&controllers, "POST", &namespaces, &namespace("kilonova-node-9", label.clone())).await.unwrap();
    refused(ask(&controllers, "POST", &namespaces, &namespace("kilonova-node-9", json!({}))).await, 403, of_nodes);
    refused(ask(&controllers, "POST", &namespaces, &namespace("other", label.clone())).await, 403, of_nodes);
    let takes = json!({"metadata": {"labels": label}});
    refused(ask(&controllers, "PATCH", &dry("/api/v1/namespaces/shop"), &takes).await, 403, of_nodes);

    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "new"}});
    refused(ask(&controllers, "POST", "/api/v1/namespaces/shop/serviceaccounts", &account).await, 403, of_nodes);
    let bindings = |namespace: &str| dry(&format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"));
    let binding = |role: &str, subject: &str, namespace: &str| {
        let mut binding = role_binding(subject, namespace);
        binding["metadata"] = json!({"name": "new"});
        binding["roleRef"]["name"] = json!(role);
        binding
    };
    let node = binding("kilonova-node", "kilonova-node", NAMESPACE_1);
    ask(&controllers, "POST", &bindings(NAMESPACE_1), &node).await.unwrap();
    refused(ask(&controllers, "POST", &bindings("shop"), &binding("kilonova-node", "kilonova-node", "shop")).await, 403, of_nodes);
    let own_account = "the controllers bind a node namespace's own account only";
    refused(ask(&controllers, "POST", &bindings(NAMESPACE_1), &binding("kilonova-node", "default", NAMESPACE_1)).await, 403, own_account);
    refused(ask(&controllers, "POST", &bindings(NAMESPACE_2), &node).await, 403, own_account);
    let admin = binding("cluster-admin", "kilonova-node", NAMESPACE_1);
    refused(ask(&controllers, "POST", &bindings(NAMESPACE_1), &admin).await, 403, "attempting to grant RBAC permissions not currently held");

    let path = instance(world, "spec").await;
    refused(ask(&controllers, "PATCH", &path, &json!({"spec": {"power": "Off"}})).await, 403, "a spec belongs to people");
    no_right(ask(&controllers, "DELETE", &path, &Value::Null).await);
    no_right(ask(&controllers, "GET", "/api/v1/namespaces/shop/secrets", &Value::Null).await);
}

#[tokio::test]
async fn a_new_instance_has_our_finalizer_where_the_server_can_add_it() {
    let world = world();
    world.install_mutating_policy().await;
    let tenant = world.tenant().await;
    let (dry, bare) = (format!("{INSTANCES}?dryRun=All"), named(good("Instance"), "bare"));
    wait_for("the policy to be in force", GENEROUS, || async {
        let object = ask(&tenant, "POST", &dry, &bare).await.map_err(|refusal| refusal.message)?;
        if object["metadata"]["finalizers"] == json!([INSTANCE_FINALIZER]) { Ok(()) } else { Err(object.to_string()) }
    })
    .await
    .unwrap();
    let mut own = bare.clone();
    own["metadata"]["finalizers"] = json!(["shop/own"]);
    let object = ask(&tenant, "POST", &dry, &own).await.unwrap();
    assert_eq!(object["metadata"]["finalizers"], json!(["shop/own", INSTANCE_FINALIZER]), "the tenant's own stay");
}
