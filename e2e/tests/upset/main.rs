//! What happens beside the declared way: power cut by hand, QEMU, libvirtd or the agent killed; and what is counted,
//! so that nothing else may happen meanwhile. All tests share one lab and have it one after the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]

mod bare;
mod counted;
mod killed;

use kilonova_e2e::{cloud::Cloud, lab::LabOptions};
use tokio::sync::{Mutex, MutexGuard};

/// The lab of this program, one node, for the holder of the guard alone.
async fn cloud() -> (MutexGuard<'static, ()>, Cloud) {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let guard = ALONE.lock().await;
    let cloud = Cloud::shared(LabOptions::new("upset").nodes(1)).await;
    let cloud = cloud.unwrap();
    // The test before this one does not wait for what it deletes.
    cloud.settled().await.unwrap();
    (guard, cloud)
}
