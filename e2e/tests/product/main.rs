//! The whole product as the user of kubectl meets it: apply, diff, get, wait, delete, dry runs, with a guest behind the
//! objects. What needs no guest is in `api_kubectl.rs`. All tests share one lab; each has a namespace of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]

mod apply;
mod careful;
mod columns;
mod waits;

use kilonova_e2e::{cloud::Cloud, lab::LabOptions, process::Output};
use serde_json::Value;

/// The lab of this program: one node.
async fn cloud() -> Cloud {
    let options = LabOptions::new("product").nodes(1);
    Cloud::shared(options).await.unwrap()
}

/// kubectl in a namespace, whose failure is the test's.
async fn kubectl(cloud: &Cloud, namespace: &str, args: &[&str]) -> String {
    let output = try_kubectl(cloud, namespace, args).await;
    output.checked().unwrap().stdout
}

/// kubectl in a namespace.
async fn try_kubectl(cloud: &Cloud, namespace: &str, args: &[&str]) -> Output {
    let args = [&["-n", namespace], args].concat();
    cloud.lab().kubectl(args).await.unwrap()
}

/// kubectl in a namespace with a manifest (`-f -`).
async fn kubectl_with(cloud: &Cloud, namespace: &str, args: &[&str], object: &Value) -> Output {
    let args = [&["-n", namespace], args, &["-f", "-"]].concat();
    let manifest = object.to_string();
    cloud.lab().kubectl_with(args, &manifest).await.unwrap()
}

/// What a user writes of an Instance, in the namespace of the command.
fn manifest(name: &str, spec: Value) -> Value {
    let mut object = serde_json::json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Instance", "metadata": {"name": name},
        "spec": {
            "flavor": "tiny", "image": {"kind": "ClusterImage", "name": "guest"}, "keyPairs": ["ops"],
            "interfaces": [{"name": "eth0", "network": "blue"}],
        },
    });
    if let (Value::Object(whole), Value::Object(spec)) = (&mut object["spec"], spec) {
        whole.extend(spec);
    }
    object
}
