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
mod lacking;
mod newer;
mod split;

use kilonova_e2e::{
    cloud::Cloud,
    lab::{Lab, LabOptions},
    process::Output,
    wait::{GENEROUS, wait_for},
};
use serde_json::Value;
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

/// An object as the API server has it, whatever we know of its kind.
async fn object(lab: &Lab, args: &[&str]) -> Result<Value, String> {
    let args = ["get", "-o", "json"].iter().chain(args);
    let output = lab.kubectl(args).await.and_then(Output::checked);
    let output = output.map_err(|error| error.to_string())?;
    serde_json::from_str(&output.stdout).map_err(|error| error.to_string())
}

/// The condition of that type.
fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    let mut conditions = object["status"]["conditions"].as_array()?.iter();
    conditions.find(|c| c["type"] == type_)
}

/// The Hypervisor's status, once its agent says that of this.
async fn told(lab: &Lab, type_: &str, status: &str) -> Value {
    wait_for(format!("{type_}={status}"), GENEROUS, || async {
        let found = object(lab, &["hypervisor", "node-1"]).await?;
        match condition(&found, type_) {
            Some(told) if told["status"] == status => Ok(found["status"].clone()),
            _ => Err(found.to_string()),
        }
    })
    .await
    .unwrap()
}
