//! User data from a Secret: what is missing is named, the node is handed a copy, and it goes again.

use crate::hollow::Hollow;
use crate::lab::{Tenant, lab, ready_message, shared};
use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kilonova_crds::condition::{find, types};
use kilonova_crds::v1alpha1::InstanceStatus;
use kilonova_crds::{ConditionStatus, Domain};
use kilonova_e2e::wait::{GENEROUS, wait_for};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use std::pin::pin;
use tokio::time::timeout;

/// What no event, status or other object may have in it; `aGlkZGVuLTQ3MTE=` in base64.
const HIDDEN: &str = "hidden-4711";

fn from(secret: &str) -> Value {
    json!({"userDataFrom": {"secretKeyRef": {"name": secret, "key": "script"}}})
}

async fn secret(tenant: &Tenant, name: &str, data: &Value) {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": data,
        "metadata": {"name": name, "namespace": tenant.namespace},
    });
    let applied = lab().apply(&object.to_string()).await.unwrap();
    applied.checked().unwrap();
}

fn secrets(tenant: &Tenant, node: &Hollow) -> Api<Secret> {
    Api::namespaced(tenant.client.clone(), &node.namespace)
}

async fn until_no_secret(tenant: &Tenant, node: &Hollow) {
    let api = secrets(tenant, node);
    wait_for("no Secret to be left", GENEROUS, || async {
        let left = api.list(&ListParams::default()).await.unwrap().items;
        let names: Vec<_> = left.iter().map(|s| s.metadata.name.clone()).collect();
        left.is_empty().then_some(()).ok_or(format!("{names:?}"))
    })
    .await
    .unwrap();
}

fn user_data(status: &InstanceStatus) -> (ConditionStatus, String) {
    let condition = find(&status.conditions, types::USER_DATA_READY).unwrap();
    (condition.status, condition.reason.clone())
}

async fn until_message(tenant: &Tenant, name: &str, says: &str) {
    wait_for(format!("{name} to say {says:?}"), GENEROUS, || async {
        let status = tenant.until(name, "UserDataMissing").await;
        let message = ready_message(&status);
        message.contains(says).then_some(()).ok_or(message)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_is_missing_is_named_and_what_is_there_is_handed_over_and_taken_away() {
    let _shared = shared().await;
    let tenant = Tenant::new("handed").await;
    let node = Hollow::start("handed-1", "handed").await;
    let api = secrets(&tenant, &node);
    let params = WatchParams::default().disable_bookmarks();
    let mut seen = pin!(api.watch(&params, "0").await.unwrap());

    tenant.instance("web", &from("boot")).await;
    until_message(&tenant, "web", "there is no Secret \"boot\"").await;
    let status = tenant.instances().get("web").await.unwrap().status.unwrap();
    assert_eq!(status.node_name, None, "nothing is claimed meanwhile");
    assert_eq!(
        user_data(&status),
        (ConditionStatus::False, "UserDataMissing".to_owned())
    );
    secret(&tenant, "boot", &json!({"other": HIDDEN})).await;
    until_message(&tenant, "web", "has no key \"script\"").await;
    let data = json!({"other": "o", "script": HIDDEN});
    secret(&tenant, "boot", &data).await;
    let status = tenant.until("web", "Running").await;
    assert_eq!(
        user_data(&status),
        (ConditionStatus::True, "Delivered".to_owned())
    );

    let uid = tenant.uid("web").await;
    let mut next = async || timeout(GENEROUS, seen.next()).await.unwrap().unwrap();
    let WatchEvent::Added(handed) = next().await.unwrap() else {
        panic!("it is not made first");
    };
    assert_eq!(handed.metadata.name.as_ref(), Some(&uid));
    assert_eq!(handed.immutable, Some(true));
    let content = ByteString(HIDDEN.as_bytes().to_vec());
    let only = [("userData".to_owned(), content)].into();
    assert_eq!(handed.data, Some(only));
    let WatchEvent::Deleted(_) = next().await.unwrap() else {
        panic!("it is not taken away");
    };

    // The guest has it: the tenant's own may go, and nothing looks for it.
    let run = async |args: &[&str]| lab().kubectl(args).await.unwrap().checked().unwrap();
    run(&["delete", "-n", "handed", "secret/boot"]).await;
    tenant
        .patch("web", &json!({"spec": {"power": "Off"}}))
        .await;
    tenant.until("web", "Stopped").await;
    let all = "instances,domains,events,events.events.k8s.io";
    let all = run(&["get", all, "-A", "-o", "json"]).await.stdout;
    assert!(all.contains("\"userDataSecret\""), "{all}");
    assert!(!all.contains(HIDDEN) && !all.contains("aGlkZGVuLTQ3MTE"));
    tenant.delete("web").await;
    tenant.until_gone("web").await;
    until_no_secret(&tenant, &node).await;
}

#[tokio::test]
async fn a_node_that_refuses_or_loses_it_leaves_none_behind() {
    let _shared = shared().await;
    let tenant = Tenant::new("lost-data").await;
    let node = Hollow::start("lost-data-1", "lost-data").await;
    secret(&tenant, "boot", &json!({"script": HIDDEN})).await;
    node.refuse(true);
    tenant.instance("web", &from("boot")).await;
    tenant.until("web", "NoValidHost").await;
    until_no_secret(&tenant, &node).await;
    node.refuse(false);
    tenant.delete("web").await;
    tenant.until_gone("web").await;
    tenant.instance("web", &from("boot")).await;
    tenant.until("web", "Running").await;
    until_no_secret(&tenant, &node).await;

    let uid = tenant.uid("web").await;
    let domains: Api<Domain> = Api::namespaced(tenant.client.clone(), &node.namespace);
    let say = async |status: Value| {
        let patch = Patch::Merge(json!({"status": status}));
        let params = PatchParams::default();
        domains.patch_status(&uid, &params, &patch).await.unwrap();
    };
    say(json!({"outcome": null, "reason": "UserDataMissing", "message": "lost"})).await;
    let api = secrets(&tenant, &node);
    wait_for("the Secret to be there again", GENEROUS, || api.get(&uid))
        .await
        .unwrap();
    let status = tenant.until("web", "UserDataMissing").await;
    assert_eq!(user_data(&status).0, ConditionStatus::False);
    say(json!({"outcome": "Running", "reason": "Running", "message": null})).await;
    tenant.until("web", "Running").await;
    until_no_secret(&tenant, &node).await;
}
