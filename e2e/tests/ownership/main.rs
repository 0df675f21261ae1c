//! What is whose: nothing is destroyed because something is absent, nothing of others' is touched, and what nobody
//! wants any more goes in the end. All tests share one lab of two nodes; those that stop a part of it have it alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]
#![allow(
    clippy::similar_names,
    reason = "an Instance has a uid, and its libvirt domain a uuid"
)]

mod abandoned;
mod elsewhere;
mod foreign;
mod forfeited;
mod hand;
mod missing;
mod namespaces;
mod orphan;
mod refused;
mod takeover;

use kilonova_e2e::{cloud::Cloud, lab::LabOptions};
use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static LAB: RwLock<()> = RwLock::const_new(());

/// The lab, beside other tests.
async fn shared() -> (RwLockReadGuard<'static, ()>, Cloud) {
    (LAB.read().await, cloud().await)
}

/// The lab, for a test that stops a part of it.
async fn alone() -> (RwLockWriteGuard<'static, ()>, Cloud) {
    (LAB.write().await, cloud().await)
}

async fn cloud() -> Cloud {
    let mut options = LabOptions::new("ownership").nodes(2);
    // An agent that is stopped is soon found to be silent; one that lives tells of it every ten seconds.
    options.controllers_args = vec!["--hypervisor-stale-seconds=25".to_owned()];
    let cloud = Cloud::shared(options).await.unwrap();
    for node in cloud.lab().nodes() {
        let roomy = json!({"spec": {"overcommit": {"cpu": "64"}}}).to_string();
        let patch = ["patch", "hypervisor", node.name(), "--type=merge", "-p"];
        hand::kubectl(&cloud, patch.into_iter().chain([&*roomy])).await;
    }
    cloud
}

/// The spec of an Instance that goes to that node, with what `more` has.
fn on(node: &str, more: Value) -> Value {
    let mut spec = json!({"nodeSelector": {"kubernetes.io/hostname": node}});
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
        spec.extend(more);
    }
    spec
}
