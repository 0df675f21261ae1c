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

use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle},
    lab::LabOptions,
};

/// The lab of this program: one node.
async fn cloud() -> Cloud {
    Cloud::shared(LabOptions::new("lifecycle").nodes(1))
        .await
        .unwrap()
}

/// Kills the QEMU of an Instance (SIGKILL), and waits until it is gone.
async fn kill_qemu(cloud: &Cloud, instance: &InstanceHandle<'_>) {
    let uuid = instance.uuid().await.unwrap();
    let script = format!(
        "pid=$(pgrep -f -- '^[^ ]*qemu-system.*{uuid}'); kill -9 $pid; while [ -d /proc/$pid ]; do sleep 0.02; done"
    );
    cloud.lab().node(0).sh(&script).await.unwrap();
}
