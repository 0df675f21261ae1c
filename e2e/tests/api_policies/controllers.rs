//! The controllers: fenced by their Lease, and kept to what is theirs.

use kilonova_crds::names::{INSTANCE_FINALIZER, LEADER_ANNOTATION};
use kilonova_e2e::wait::{GENEROUS, wait_for};
use serde_json::{Value, json};

use crate::{
    INSTANCES,
    api_common::{Answer as _, collection, good},
    instance, named, release,
    world::{NAMESPACE_1, NAMESPACE_2, fenced, role_binding, world},
};

#[tokio::test]
async fn a_leader_that_is_no_more_writes_nothing() {
    let world = world();
    let controllers = world.controllers().await;
    let domains = collection("Domain", NAMESPACE_2);
    let write = |name: &str, transition: &str| fenced(named(good("Domain"), name), transition);
    let late = "written by a leader that is no more";
    controllers
        .post(&domains, &write("fence-1", "7"))
        .await
        .unwrap();
    controllers
        .post(&domains, &write("fence-2", "6"))
        .await
        .refused(422, late);
    controllers
        .post(&domains, &write("fence-2", "now"))
        .await
        .refused(422, late);
    controllers
        .post(&domains, &named(good("Domain"), "fence-2"))
        .await
        .refused(422, late);
    let path = instance(world, "fenced").await;
    controllers
        .patch(&path, &json!({"metadata": {"finalizers": null}}))
        .await
        .refused(422, late);
    release(&controllers, &path, "6").await.refused(422, late);

    let lease =
        "/apis/coordination.k8s.io/v1/namespaces/kilonova-system/leases/kilonova-controllers";
    controllers
        .patch(lease, &json!({"spec": {"leaseTransitions": 8}}))
        .await
        .unwrap();
    let change =
        json!({"metadata": {"annotations": {LEADER_ANNOTATION: "7"}}, "spec": {"power": "Off"}});
    wait_for("the fence to follow the Lease", GENEROUS, || async {
        match controllers
            .patch(&format!("{domains}/fence-1?dryRun=All"), &change)
            .await
        {
            Err(refusal) if refusal.message.contains(late) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    release(&controllers, &path, "7").await.refused(422, late);
    release(&controllers, &path, "8").await.unwrap();
    let change =
        json!({"metadata": {"annotations": {LEADER_ANNOTATION: "8"}}, "spec": {"power": "Off"}});
    controllers
        .patch(&format!("{domains}/fence-1"), &change)
        .await
        .unwrap();
    controllers
        .delete(&format!("{domains}/fence-1"))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_controllers_write_for_nodes_and_nothing_else() {
    let world = world();
    let controllers = world.controllers().await;
    let dry = |path: &str| format!("{path}?dryRun=All");
    let of_nodes = "the controllers write namespaces, accounts and bindings of nodes only";
    let namespace = |name: &str, labels: Value| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    let label = json!({"kilonova.dev/node-namespace": ""});
    let namespaces = dry("/api/v1/namespaces");
    controllers
        .post(&namespaces, &namespace("kilonova-node-9", label.clone()))
        .await
        .unwrap();
    controllers
        .post(&namespaces, &namespace("kilonova-node-9", json!({})))
        .await
        .refused(403, of_nodes);
    controllers
        .post(&namespaces, &namespace("other", label.clone()))
        .await
        .refused(403, of_nodes);
    let takes = json!({"metadata": {"labels": label}});
    controllers
        .patch(&dry("/api/v1/namespaces/shop"), &takes)
        .await
        .refused(403, of_nodes);

    let path = instance(world, "spec").await;
    controllers
        .patch(&path, &json!({"spec": {"power": "Off"}}))
        .await
        .refused(403, "a spec belongs to people");
    controllers.delete(&path).await.no_right();
    controllers
        .get("/api/v1/namespaces/shop/secrets")
        .await
        .no_right();
}

#[tokio::test]
async fn the_controllers_hand_secrets_to_nodes_and_neither_list_nor_change_any() {
    let world = world();
    let (controllers, node) = (world.controllers().await, world.node().await);
    let secrets = |namespace: &str| format!("/api/v1/namespaces/{namespace}/secrets");
    let of_nodes = "the controllers write namespaces, accounts and bindings of nodes only";
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "handed"}});
    let late = "written by a leader that is no more";
    controllers
        .post(&secrets(NAMESPACE_1), &secret)
        .await
        .refused(422, late);
    for namespace in [NAMESPACE_1, NAMESPACE_2] {
        let path = secrets(namespace);
        let fenced = fenced(secret.clone(), "1000");
        controllers.post(&path, &fenced).await.unwrap();
    }
    let shop = secrets("shop");
    controllers
        .post(&shop, &fenced(secret.clone(), "1000"))
        .await
        .refused(403, of_nodes);
    let tenant = world.tenant().await;
    tenant.post(&shop, &secret).await.unwrap();
    controllers.get(&format!("{shop}/handed")).await.unwrap();
    controllers
        .delete(&format!("{shop}/handed"))
        .await
        .refused(403, of_nodes);
    for path in [shop, secrets(NAMESPACE_1), "/api/v1/secrets".to_owned()] {
        controllers.get(&path).await.no_right();
    }
    let own = format!("{}/handed", secrets(NAMESPACE_1));
    let change = json!({"data": {"userData": "eA=="}});
    controllers.patch(&own, &change).await.no_right();

    // An agent reads what its node was handed, by name.
    node.get(&own).await.unwrap();
    node.get(&secrets(NAMESPACE_1)).await.no_right();
    node.delete(&own).await.no_right();
    node.get(&format!("{}/handed", secrets(NAMESPACE_2)))
        .await
        .no_right();
    node.get("/api/v1/namespaces/shop/secrets/handed")
        .await
        .no_right();
    controllers.delete(&own).await.unwrap();
}

#[tokio::test]
async fn the_controllers_give_rights_to_nodes_and_nobody_else() {
    let controllers = world().controllers().await;
    let of_nodes = "the controllers write namespaces, accounts and bindings of nodes only";
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "new"}});
    controllers
        .post("/api/v1/namespaces/shop/serviceaccounts", &account)
        .await
        .refused(403, of_nodes);
    let bindings = |namespace: &str| {
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings?dryRun=All")
    };
    let binding = |role: &str, subject: &str, namespace: &str| {
        let mut binding = role_binding(subject, namespace);
        binding["metadata"] = json!({"name": "new"});
        binding["roleRef"]["name"] = json!(role);
        binding
    };
    let node = binding("kilonova-node", "kilonova-node", NAMESPACE_1);
    controllers
        .post(&bindings(NAMESPACE_1), &node)
        .await
        .unwrap();
    controllers
        .post(
            &bindings("shop"),
            &binding("kilonova-node", "kilonova-node", "shop"),
        )
        .await
        .refused(403, of_nodes);
    let own_account = "the controllers bind a node namespace's own account only";
    controllers
        .post(
            &bindings(NAMESPACE_1),
            &binding("kilonova-node", "default", NAMESPACE_1),
        )
        .await
        .refused(403, own_account);
    controllers
        .post(&bindings(NAMESPACE_2), &node)
        .await
        .refused(403, own_account);
    let admin = binding("cluster-admin", "kilonova-node", NAMESPACE_1);
    controllers
        .post(&bindings(NAMESPACE_1), &admin)
        .await
        .refused(
            403,
            "attempting to grant RBAC permissions not currently held",
        );
}

#[tokio::test]
async fn a_new_instance_has_our_finalizer_where_the_server_can_add_it() {
    let tenant = world().tenant().await;
    let dry = format!("{INSTANCES}?dryRun=All");
    let bare = named(good("Instance"), "bare");
    let object = tenant.post(&dry, &bare).await.unwrap();
    assert_eq!(
        object["metadata"]["finalizers"],
        json!([INSTANCE_FINALIZER])
    );
    let mut own = bare.clone();
    own["metadata"]["finalizers"] = json!(["shop/own"]);
    let object = tenant.post(&dry, &own).await.unwrap();
    assert_eq!(
        object["metadata"]["finalizers"],
        json!(["shop/own", INSTANCE_FINALIZER]),
        "the tenant's own stay"
    );
}
