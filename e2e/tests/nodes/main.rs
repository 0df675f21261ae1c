//! Several nodes, and two replicas of the controllers: where instances come to be, what they wait for, and that they
//! come to be once, whoever leads. All tests share one lab and have it one after the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]

mod affinity;
mod claims;
mod finalizer;
mod hosts;
mod leader;
mod missing;
mod story;
mod world;

use kilonova_e2e::{cloud::Cloud, lab::LabOptions};
use tokio::sync::{Mutex, MutexGuard};

/// How many nodes the lab has.
const NODES: usize = 3;

/// The lab of this program for the holder of the guard alone: no Instance there, every node as it was at first.
async fn cloud() -> (MutexGuard<'static, ()>, Cloud) {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let guard = ALONE.lock().await;
    let options = LabOptions::new("nodes").nodes(NODES).controllers(2);
    let cloud = Cloud::shared(options).await.unwrap();
    world::as_at_first(&cloud).await;
    (guard, cloud)
}
