//! Controllers and an agent that are older than the CRDs: an object has a field, another one a value, that they do not
//! know.

use kilonova_e2e::{
    lab::Lab,
    process::Output,
    wait::{GENEROUS, wait_for},
};
use serde_json::{Value, json};

use crate::{cloud, condition, object};

const POWERS: &str =
    "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/power/enum";
const FIELD: &str =
    "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/fromTomorrow";

async fn kubectl(lab: &Lab, args: &[&str]) {
    let output = lab.kubectl(args).await.and_then(Output::checked);
    output.unwrap();
}

/// Changes the CRD of Instances.
async fn change(lab: &Lab, changes: &Value) {
    let changes = changes.to_string();
    let crd = [
        "patch",
        "crd",
        "instances.kilonova.dev",
        "--type=json",
        "-p",
    ];
    kubectl(lab, &[&crd[..], &[&changes]].concat()).await;
}

/// Changes an Instance of the tenant.
async fn merge(lab: &Lab, name: &str, spec: &Value) {
    let patch = json!({"spec": spec}).to_string();
    let instance = [
        "patch",
        "instance",
        name,
        "-n",
        "newer",
        "--type=merge",
        "-p",
    ];
    // The API server serves a changed schema a moment after it took it.
    wait_for(format!("{name} to be changed"), GENEROUS, || async {
        let output = lab.kubectl([&instance[..], &[&patch]].concat()).await;
        let output = output.and_then(Output::checked);
        let output = output.map_err(|error| error.to_string())?;
        let found = object(lab, &["instance", name, "-n", "newer"]).await?;
        let spec = spec.as_object().into_iter().flatten();
        let kept = spec
            .into_iter()
            .all(|(key, value)| found["spec"][key] == *value);
        if kept && output.stderr.is_empty() {
            Ok(())
        } else {
            Err(format!("{} {found}", output.stderr))
        }
    })
    .await
    .unwrap();
}

/// Waits until the Instance is said not to be understood.
async fn stalled(lab: &Lab, name: &str) {
    wait_for(format!("{name} to be stalled"), GENEROUS, || async {
        let found = object(lab, &["instance", name, "-n", "newer"]).await?;
        let told = condition(&found, "Stalled").cloned().unwrap_or_default();
        let message = told["message"].as_str().unwrap_or_default();
        if told["reason"] == "NotUnderstood" && message.contains("unknown variant `Dreaming`") {
            Ok(())
        } else {
            Err(found["status"].to_string())
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_is_not_understood_stalls_its_object_and_no_other() {
    let (_alone, cloud) = cloud().await;
    let lab = cloud.lab();
    let node = lab.node(0);
    let crd = object(lab, &["crd", "instances.kilonova.dev"]).await;
    let powers = crd.unwrap().pointer(POWERS).unwrap().clone();
    change(
        lab,
        &json!([
            {"op": "add", "path": format!("{POWERS}/-"), "value": "Dreaming"},
            {"op": "add", "path": FIELD, "value": {"type": "string"}},
        ]),
    )
    .await;
    let shop = cloud.tenant("newer").await.unwrap();
    let web = shop.create("web-1", json!({})).await.unwrap();
    web.ready("Running").await.unwrap();
    let uuid = web.uuid().await.unwrap();
    let id = node.virsh(["domid", &uuid]).await.unwrap();

    // A field is passed over, and stays through all that we write.
    merge(lab, "web-1", &json!({"fromTomorrow": "kept"})).await;
    web.power("Off").await.unwrap();
    web.ready("Stopped").await.unwrap();
    web.power("On").await.unwrap();
    web.ready("Running").await.unwrap();
    let found = object(lab, &["instance", "web-1", "-n", "newer"]).await;
    assert_eq!(found.unwrap()["spec"]["fromTomorrow"], "kept");
    assert_ne!(node.virsh(["domid", &uuid]).await.unwrap(), id);

    // A value stalls its object: the guest runs on, and others come and run.
    let id = node.virsh(["domid", &uuid]).await.unwrap();
    merge(lab, "web-1", &json!({"power": "Dreaming"})).await;
    stalled(lab, "web-1").await;
    let other = shop.create("web-2", json!({})).await.unwrap();
    other.ready("Running").await.unwrap();

    // Controllers that never saw it otherwise do nothing else.
    for controllers in lab.controllers() {
        controllers.kill().unwrap();
        controllers.start().unwrap();
    }
    other.power("Off").await.unwrap();
    other.ready("Stopped").await.unwrap();
    stalled(lab, "web-1").await;
    assert_eq!(node.virsh(["domid", &uuid]).await.unwrap(), id);
    let found = object(lab, &["instance", "web-1", "-n", "newer"]).await;
    let status = &found.unwrap()["status"];
    assert_eq!(status["nodeName"], "node-1", "{status}");

    // It is taken up where it was; one that is deleted goes.
    merge(lab, "web-1", &json!({"power": "On"})).await;
    web.ready("Running").await.unwrap();
    assert_eq!(node.virsh(["domid", &uuid]).await.unwrap(), id);
    merge(lab, "web-1", &json!({"power": "Dreaming"})).await;
    stalled(lab, "web-1").await;
    kubectl(lab, &["delete", "instance", "web-1", "-n", "newer"]).await;
    let gone = node.virsh(["domstate", &uuid]).await;
    assert!(gone.is_err(), "{gone:?}");

    shop.close().await.unwrap();
    cloud.settled().await.unwrap();
    change(
        lab,
        &json!([
            {"op": "replace", "path": POWERS, "value": powers},
            {"op": "remove", "path": FIELD},
        ]),
    )
    .await;
}
