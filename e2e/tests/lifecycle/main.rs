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

use kilonova_e2e::{cloud::Cloud, lab::LabOptions};

/// The lab of this program: one node.
async fn cloud() -> Cloud {
    Cloud::shared(LabOptions::new("lifecycle").nodes(1))
        .await
        .unwrap()
}
