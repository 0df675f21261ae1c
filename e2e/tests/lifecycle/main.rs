//! The life of an Instance on one node, seen from outside: created, used, switched off and on, halted, saved, deleted.
//! All tests share one lab; each has tenants of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]

mod creation;
mod deletion;
mod power;
mod restarts;
mod slow;
mod user_data;

use kilonova_crds::v1alpha1::Hypervisor;
use kilonova_e2e::{cloud::Cloud, lab::LabOptions};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

/// The lab of this program: one node, with room for the vCPUs of all tests, those that failed before included.
async fn cloud() -> Cloud {
    let options = LabOptions::new("lifecycle").nodes(1);
    let cloud = Cloud::shared(options).await.unwrap();
    let roomy = json!({"spec": {"overcommit": {"cpu": "64"}}});
    Api::<Hypervisor>::all(cloud.client())
        .patch("node-1", &PatchParams::default(), &Patch::Merge(roomy))
        .await
        .unwrap();
    cloud
}
