//! Tenants and operators: what is refused whatever stars their roles have.

use kilonova_crds::names::INSTANCE_FINALIZER;
use kilonova_e2e::wait::{GENEROUS, wait_for};
use serde_json::{Value, json};

use crate::{
    HYPERVISORS, INSTANCES,
    api_common::{Answer as _, Asker, collection, good},
    condition, instance, named, release,
    world::{NAMESPACE_1, NAMESPACE_2, fenced, hypervisor, world},
};

const BY_CONTROLLERS: &str = "removed by Kilonova's controllers";

#[tokio::test]
async fn a_tenant_with_stars_writes_no_status_and_removes_no_finalizer() {
    let world = world();
    let tenant = world.tenant().await;
    let path = instance(world, "starred").await;
    let status = format!("{path}/status");
    let claims = json!({"status": {"nodeName": "node-1"}});
    tenant
        .patch(&status, &claims)
        .await
        .refused(403, "a status is written by Kilonova's controllers only");
    let mut whole = tenant.get(&path).await.unwrap();
    whole["status"]["nodeName"] = json!("node-1");
    tenant
        .put(&status, &whole)
        .await
        .refused(403, "a status is written by");
    let answer = tenant.put(&path, &whole).await.unwrap();
    assert_eq!(
        answer["status"],
        json!({"observedGeneration": -1}),
        "the way round by the object itself"
    );

    tenant
        .patch(&path, &json!({"metadata": {"finalizers": null}}))
        .await
        .refused(403, BY_CONTROLLERS);
    tenant
        .patch(&path, &json!({"metadata": {"finalizers": ["shop/own"]}}))
        .await
        .refused(403, BY_CONTROLLERS);
    release(&tenant, &path, "1000")
        .await
        .refused(403, BY_CONTROLLERS);
    let both = json!({"metadata": {"finalizers": ["shop/own", INSTANCE_FINALIZER]}});
    tenant.patch(&path, &both).await.unwrap();
    tenant
        .patch(
            &path,
            &json!({"metadata": {"finalizers": [INSTANCE_FINALIZER]}}),
        )
        .await
        .unwrap();

    tenant.delete(&path).await.unwrap();
    tenant
        .patch(&path, &json!({"metadata": {"finalizers": null}}))
        .await
        .refused(403, BY_CONTROLLERS);
    release(&world.controllers().await, &path, "1000")
        .await
        .unwrap();
    tenant.get(&path).await.refused(404, "not found");

    for kind in ["Domain", "Segment"] {
        let answer = tenant.post(&collection(kind, "shop"), &good(kind)).await;
        answer.refused(
            403,
            "Domains and Segments are written by Kilonova's controllers only",
        );
        tenant.get(&collection(kind, NAMESPACE_1)).await.no_right();
    }
}

#[tokio::test]
async fn a_guest_is_given_no_secret_that_its_maker_may_not_read() {
    let maker = world().maker().await;
    let with = |name: &str, secret: &str| {
        let mut object = named(good("Instance"), name);
        let from = json!({"secretKeyRef": {"name": secret, "key": "script"}});
        let spec = object["spec"].as_object_mut().unwrap();
        spec.remove("userData");
        spec.insert("userDataFrom".to_owned(), from);
        object
    };
    let says = "given what is in Secret \"vault\" (userDataFrom): whoever makes this Instance must \
                be allowed to get that Secret of namespace shop";
    let made = maker.post(INSTANCES, &with("thief", "vault")).await;
    made.refused(403, says);
    maker
        .post(INSTANCES, &with("booted", "first-boot"))
        .await
        .unwrap();
    let without = named(good("Instance"), "plain");
    maker.post(INSTANCES, &without).await.unwrap();
    // What was let in stays in the hands of whoever may change it.
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    maker
        .patch(&format!("{INSTANCES}/booted"), &label)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_operator_repairs_by_hand_only_with_the_permission_to() {
    let world = world();
    let (operator, repairer) = (world.operator().await, world.repairer().await);
    let path = instance(world, "repaired").await;
    let status = json!({"status": {"nodeName": "node-1"}});
    operator
        .patch(&format!("{path}/status"), &status)
        .await
        .refused(403, "a status is written by");
    repairer
        .patch(&format!("{path}/status"), &status)
        .await
        .unwrap();
    operator
        .patch(&path, &json!({"metadata": {"finalizers": null}}))
        .await
        .refused(403, BY_CONTROLLERS);
    repairer
        .patch(&path, &json!({"metadata": {"finalizers": null}}))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_operator_writes_to_a_node_by_hand_only_with_the_permission_to() {
    let world = world();
    let (operator, repairer) = (world.operator().await, world.repairer().await);
    let domains = collection("Domain", NAMESPACE_1);
    let domain = named(good("Domain"), "by-hand");
    operator
        .post(&domains, &domain)
        .await
        .refused(403, "written by Kilonova's controllers only");
    repairer.post(&domains, &domain).await.unwrap();
    repairer
        .post(&collection("Domain", "shop"), &domain)
        .await
        .refused(422, "in node namespaces only");
    let report = json!({"status": {"observedGeneration": 1, "outcome": "Purged"}});
    let by_agent = "the status of a Domain or Segment is written by the agent of its node only";
    operator
        .patch(&format!("{domains}/by-hand/status"), &report)
        .await
        .refused(403, by_agent);
    operator
        .patch(
            &format!("{domains}/by-hand"),
            &json!({"spec": {"disposition": "Purge"}}),
        )
        .await
        .refused(403, "written by");
    // To delete one is harmless: it is made again.
    operator
        .delete(&format!("{domains}/by-hand"))
        .await
        .unwrap();
}

#[tokio::test]
async fn whose_namespace_it_is_is_the_controllers_to_say() {
    let operator = world().operator().await;
    let marks = "which namespace is a node's, and whose, is written by Kilonova's controllers only";
    let moved = json!({"metadata": {"annotations": {"kilonova.dev/node": "node-2"}}});
    let namespace_1 = format!("/api/v1/namespaces/{NAMESPACE_1}");
    operator
        .patch(&namespace_1, &moved)
        .await
        .refused(403, marks);
    operator
        .patch(
            &namespace_1,
            &json!({"metadata": {"labels": {"kilonova.dev/node-namespace": null}}}),
        )
        .await
        .refused(403, marks);
    let new = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new", "labels": {"kilonova.dev/node-namespace": ""}}});
    operator
        .post("/api/v1/namespaces", &new)
        .await
        .refused(403, marks);
    operator
        .patch(
            &namespace_1,
            &json!({"metadata": {"annotations": {"note": "rack 4"}}}),
        )
        .await
        .unwrap();
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
        admin.delete(&path).await.refused(403, says);
        let allow = |value: Value| json!({"metadata": {"annotations": {"kilonova.dev/allow-delete": value}}});
        admin.patch(&path, &allow(json!("true"))).await.unwrap();
        admin.delete(&format!("{path}?dryRun=All")).await.unwrap();
        admin.patch(&path, &allow(json!("no"))).await.unwrap();
        admin.delete(&path).await.refused(403, says);
        admin.patch(&path, &allow(Value::Null)).await.unwrap();
    }
    admin.delete(crds).await.refused(403, says);
    let other = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}});
    admin.post("/api/v1/namespaces", &other).await.unwrap();
    admin.delete("/api/v1/namespaces/other").await.unwrap();

    let path = format!("{HYPERVISORS}/node-7");
    admin
        .post(HYPERVISORS, &hypervisor("node-7", &json!({})))
        .await
        .unwrap();
    let conditions = |ready: &str, used: &str| json!({"status": {"conditions": [condition("Ready", ready), condition("InUse", used)]}});
    let status = format!("{path}/status");
    world
        .controllers()
        .await
        .patch(&status, &conditions("True", "True"))
        .await
        .unwrap();
    admin
        .delete(&path)
        .await
        .refused(403, "this Hypervisor is Ready and runs instances");
    for (ready, used) in [("True", "False"), ("Unknown", "True")] {
        world
            .controllers()
            .await
            .patch(&status, &conditions(ready, used))
            .await
            .unwrap();
        admin.delete(&format!("{path}?dryRun=All")).await.unwrap();
    }
}

#[tokio::test]
async fn a_namespace_goes_once_its_instances_are_gone() {
    let world = world();
    let (admin, controllers) = (world.admin().await, world.controllers().await);
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "leaving"}});
    admin.post("/api/v1/namespaces", &namespace).await.unwrap();
    let mut object = named(good("Instance"), "last");
    object["metadata"]["finalizers"] = json!([INSTANCE_FINALIZER]);
    admin
        .post(&collection("Instance", "leaving"), &object)
        .await
        .unwrap();
    admin
        .post(&collection("Network", "leaving"), &good("Network"))
        .await
        .unwrap();
    admin.delete("/api/v1/namespaces/leaving").await.unwrap();
    let path = format!("{}/last", collection("Instance", "leaving"));
    wait_for(
        "the Instance to be deleted with its namespace",
        GENEROUS,
        || async {
            let object = admin.get(&path).await.map_err(|r| r.message)?;
            if object["metadata"]["deletionTimestamp"].is_null() {
                Err("it is not")
            } else {
                Ok(())
            }
            .map_err(str::to_owned)
        },
    )
    .await
    .unwrap();
    release(&controllers, &path, "1000").await.unwrap();
    gone(&admin, "/api/v1/namespaces/leaving").await;
}

#[tokio::test]
async fn b64_the_garbage_collector_does_its_work() {
    let world = world();
    let (admin, controllers) = (world.admin().await, world.controllers().await);
    let domain = format!("{}/collected", collection("Domain", NAMESPACE_1));
    let object = fenced(named(good("Domain"), "collected"), "1000");
    controllers
        .post(&collection("Domain", NAMESPACE_1), &object)
        .await
        .unwrap();
    admin
        .delete(&format!("{domain}?propagationPolicy=Foreground"))
        .await
        .unwrap();
    gone(&admin, &domain).await;

    for policy in ["Foreground", "Orphan"] {
        let path = instance(world, &format!("left-{}", policy.to_lowercase())).await;
        admin
            .delete(&format!("{path}?propagationPolicy={policy}"))
            .await
            .unwrap();
        wait_for("our finalizer to be the last", GENEROUS, || async {
            let object = admin.get(&path).await.map_err(|r| r.message)?;
            let finalizers = &object["metadata"]["finalizers"];
            if *finalizers == json!([INSTANCE_FINALIZER]) {
                Ok(())
            } else {
                Err(finalizers.to_string())
            }
        })
        .await
        .unwrap();
        release(&controllers, &path, "1000").await.unwrap();
        gone(&admin, &path).await;
    }
}

/// Waits until the object is gone.
async fn gone(admin: &Asker, path: &str) {
    wait_for(format!("{path} to be gone"), GENEROUS, || async {
        match admin.get(path).await {
            Err(refusal) if refusal.code == 404 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}
