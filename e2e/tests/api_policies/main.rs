//! Who may do what: RBAC and admission policies as the chart ships them, asked with real tokens.
//!
//! No controllers and no agents run here: their requests are made by hand, with what the chart gives them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]

mod access;
mod agents;
#[path = "../api_common/mod.rs"]
mod api_common;
mod controllers;
mod people;
mod world;

use api_common::{Asker, Refusal, good};
use kilonova_crds::names::{INSTANCE_FINALIZER, LEADER_ANNOTATION};
use serde_json::{Value, json};
use world::World;

const INSTANCES: &str = "/apis/kilonova.dev/v1alpha1/namespaces/shop/instances";
const HYPERVISORS: &str = "/apis/kilonova.dev/v1alpha1/hypervisors";

fn named(mut object: Value, name: &str) -> Value {
    object["metadata"]["name"] = json!(name);
    object
}

/// An Instance in the tenant's namespace, with our finalizer.
async fn instance(world: &World, name: &str) -> String {
    let mut object = named(good("Instance"), name);
    object["metadata"]["finalizers"] = json!([INSTANCE_FINALIZER]);
    world.tenant().await.post(INSTANCES, &object).await.unwrap();
    format!("{INSTANCES}/{name}")
}

/// Removes the finalizer as the controllers do, under this transition.
async fn release(controllers: &Asker, path: &str, transition: &str) -> Result<Value, Refusal> {
    let metadata = json!({"finalizers": null, "annotations": {LEADER_ANNOTATION: transition}});
    controllers
        .patch(path, &json!({"metadata": metadata}))
        .await
}

/// A condition as it stands in a status.
fn condition(kind: &str, status: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "Test", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"})
}
