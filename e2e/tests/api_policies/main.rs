//! Who may do what: RBAC and admission policies as the chart ships them, asked with real tokens.
//!
//! No controllers and no agents run here: their requests are made by hand, with what the chart gives them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first thing that is wrong")]

mod access;
mod agents;
#[path = "../api_common/mod.rs"]
mod api_common;
mod controllers;
mod people;
mod world;

use api_common::{Refusal, ask, good};
use kilonova_crds::names::{INSTANCE_FINALIZER, LEADER_ANNOTATION};
use kube::Client;
use serde_json::{Value, json};
use world::World;

const INSTANCES: &str = "/apis/kilonova.dev/v1alpha1/namespaces/shop/instances";
const HYPERVISORS: &str = "/apis/kilonova.dev/v1alpha1/hypervisors";

/// The refusal, which must say this.
#[track_caller]
fn refused(answer: Result<Value, Refusal>, code: u16, says: &str) {
    let refusal = answer.map(|done| panic!("was done: {done}; must be refused: {says}")).unwrap_err();
    assert!(refusal.code == code && refusal.message.contains(says), "must say {code} {says}; said {refusal:?}");
}

/// Refused by RBAC: the agent is not even asked what it wants to write.
#[track_caller]
fn no_right(answer: Result<Value, Refusal>) {
    refused(answer, 403, " cannot ");
}

fn named(mut object: Value, name: &str) -> Value {
    object["metadata"]["name"] = json!(name);
    object
}

/// An Instance in the tenant's namespace, with our finalizer.
async fn instance(world: &World, name: &str) -> String {
    let mut object = named(good("Instance"), name);
    object["metadata"]["finalizers"] = json!([INSTANCE_FINALIZER]);
    ask(&world.tenant().await, "POST", INSTANCES, &object).await.unwrap();
    format!("{INSTANCES}/{name}")
}

/// Removes the finalizer as the controllers do, under this transition.
async fn release(controllers: &Client, path: &str, transition: &str) -> Result<Value, Refusal> {
    let metadata = json!({"finalizers": null, "annotations": {LEADER_ANNOTATION: transition}});
    ask(controllers, "PATCH", path, &json!({"metadata": metadata})).await
}

/// A condition as it stands in a status.
fn condition(kind: &str, status: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "Test", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"})
}
