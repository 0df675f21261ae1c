//! b59: what is applied again changes nothing, and nobody's fields are fought over.

use std::{collections::BTreeMap, fs, path::PathBuf};

use kilonova_crds::{names, v1alpha1::Instance};
use kilonova_e2e::{
    build::GuestImage,
    cloud::{Cloud, GUEST_IMAGE},
    repo,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{cloud, kubectl, kubectl_with, manifest, try_kubectl};

/// `examples/quickstart` with image and key filled in, and with a Flavor's name that the lab does not have yet.
fn quickstart(cloud: &Cloud) -> PathBuf {
    let dir = cloud.lab().dir().join("quickstart");
    fs::create_dir_all(&dir).unwrap();
    let image = GuestImage::find().unwrap();
    for file in fs::read_dir(repo::root().join("examples/quickstart")).unwrap() {
        let file = file.unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        let key = text
            .lines()
            .find_map(|l| l.trim().strip_prefix("publicKey: "));
        let text = match key {
            Some(key) => text.replace(key, &cloud.key().public),
            None => text.clone(),
        };
        let text = text
            .replace(
                "https://images.example.com/guest.qcow2",
                &cloud.images().url(GUEST_IMAGE),
            )
            .replace(&format!("sha256:{}", "0".repeat(64)), &image.checksum())
            .replace("tiny", "quick");
        fs::write(dir.join(file.file_name()), text).unwrap();
    }
    dir
}

/// Generation and resourceVersion of each object of the files.
async fn versions(cloud: &Cloud, namespace: &str, dir: &str) -> BTreeMap<String, (i64, String)> {
    let list = kubectl(cloud, namespace, &["get", "-f", dir, "-o", "json"]).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    let version = |item: &Value| {
        let metadata = &item["metadata"];
        let version = metadata["resourceVersion"].as_str().unwrap().to_owned();
        let name = format!("{} {}", item["kind"], metadata["name"]);
        (name, (metadata["generation"].as_i64().unwrap(), version))
    };
    items.map(version).collect()
}

#[tokio::test]
async fn b59_after_running_apply_changes_nothing_and_diff_is_empty() {
    let cloud = cloud().await;
    kubectl(&cloud, "default", &["create", "namespace", "quick"]).await;
    let dir = quickstart(&cloud);
    let dir = dir.to_str().unwrap();
    let first = kubectl(&cloud, "quick", &["apply", "-f", dir]).await;
    assert!(
        first.contains("instance.kilonova.dev/web-1 created"),
        "{first}"
    );
    let wait = [
        "wait",
        "--for=condition=Ready",
        "inst/web-1",
        "--timeout=120s",
    ];
    kubectl(&cloud, "quick", &wait).await;
    // Until the guest has booted: what may still be written of its start is written by then.
    let web = cloud.instance("quick", "web-1");
    web.sh("true").await.unwrap();

    let before = versions(&cloud, "quick", dir).await;
    assert_eq!(before.len(), 6, "{before:?}");
    let second = kubectl(&cloud, "quick", &["apply", "-f", dir]).await;
    assert_eq!(second.matches(" unchanged").count(), 6, "{second}");
    let diff = try_kubectl(&cloud, "quick", &["diff", "-f", dir]).await;
    assert!(diff.success() && diff.stdout.is_empty(), "{diff:?}");
    let server_side = [
        "diff",
        "--server-side",
        "--field-manager=kubectl-client-side-apply",
        "-f",
        dir,
    ];
    let diff = try_kubectl(&cloud, "quick", &server_side).await;
    assert!(diff.success() && diff.stdout.is_empty(), "{diff:?}");
    assert_eq!(versions(&cloud, "quick", dir).await, before);
    assert_eq!(web.domain_state().await.unwrap(), "running");
    kubectl(&cloud, "quick", &["delete", "inst", "web-1"]).await;
    kubectl(
        &cloud,
        "default",
        &["delete", "namespace", "quick", "--wait=false"],
    )
    .await;
}

#[tokio::test]
async fn b59_another_manager_s_field_is_taken_up_and_not_fought_over() {
    let cloud = cloud().await;
    let shop = cloud.tenant("managers").await.unwrap();
    let file = manifest("web-1", json!({}));
    kubectl_with(&cloud, "managers", &["apply"], &file)
        .await
        .checked()
        .unwrap();
    let web = shop.instance("web-1");
    let running = web.ready("Running").await.unwrap();

    // What it says of the object is one label and one field.
    let part = json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Instance",
        "metadata": {"name": "web-1", "labels": {"team": "red"}},
        "spec": {"terminationGracePeriodSeconds": 7},
    });
    // By the API, as such managers do it: kubectl would first hand it the fields of the client-side apply.
    let instances: Api<Instance> = Api::namespaced(cloud.client(), "managers");
    let (params, part) = (PatchParams::apply("flux"), Patch::Apply(&part));
    let flux = || instances.patch("web-1", &params, &part);
    flux().await.unwrap();
    let seen = web.ready("Running").await.unwrap();
    let generation = running.metadata.generation.unwrap() + 1;
    assert_eq!(seen.metadata.generation, Some(generation));
    let domains = names::node_namespace("node-1");
    let uid = seen.metadata.uid.clone().unwrap();
    let grace = [
        "get",
        "dom",
        &uid,
        "-o",
        "jsonpath={.spec.terminationGracePeriodSeconds}",
    ];
    assert_eq!(kubectl(&cloud, &domains, &grace).await, "7");

    // Both apply again: nothing changes, and neither is told of a conflict.
    flux().await.unwrap();
    let again = kubectl_with(&cloud, "managers", &["apply"], &file).await;
    assert!(again.checked().unwrap().stdout.contains("unchanged"));
    let after = web.get().await.unwrap();
    assert_eq!(
        after.metadata.resource_version,
        seen.metadata.resource_version
    );
    assert_eq!(after.spec.termination_grace_period_seconds, Some(7));
    assert_eq!(web.domain_state().await.unwrap(), "running");
    ours_is_the_status(&cloud).await;
    shop.close().await.unwrap();
}

/// Of an Instance our programs have written the status, and at most the finalizer beside it.
async fn ours_is_the_status(cloud: &Cloud) {
    let shown = [
        "get",
        "inst",
        "web-1",
        "-o",
        "json",
        "--show-managed-fields",
    ];
    let object: Value = serde_json::from_str(&kubectl(cloud, "managers", &shown).await).unwrap();
    let managers = object["metadata"]["managedFields"].as_array().unwrap();
    let ours = managers
        .iter()
        .filter(|m| m["manager"].as_str().unwrap().contains("kilonova"));
    let mut seen = 0;
    for fields in ours.map(|manager| manager["fieldsV1"].as_object().unwrap()) {
        seen += 1;
        for (name, inner) in fields {
            let finalizer = name == "f:metadata"
                && inner
                    .as_object()
                    .unwrap()
                    .keys()
                    .all(|key| key == "f:finalizers");
            assert!(name == "f:status" || finalizer, "{name}: {inner}");
        }
    }
    assert!(seen > 0, "{managers:#?}");
}
