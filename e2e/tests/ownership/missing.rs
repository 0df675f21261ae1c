//! A root disk that is gone.

use kilonova_crds::{
    ConditionStatus::{False, True},
    condition::types::{READY, STALLED},
};
use serde_json::json;

use crate::{hand, on, shared};

#[tokio::test]
async fn where_the_root_disk_is_gone_no_blank_one_is_made_and_its_return_helps() {
    let (_shared, cloud) = shared().await;
    let shop = cloud.tenant("missing").await.unwrap();
    let web = shop.create("web", on("node-2", json!({}))).await.unwrap();
    web.ready("Running").await.unwrap();
    web.sh("echo kept > ~/kept; sync").await.unwrap();
    web.power("Off").await.unwrap();
    web.ready("Stopped").await.unwrap();
    let node = web.node().await.unwrap();
    let dir = node
        .state_dir()
        .join("instances")
        .join(web.uuid().await.unwrap());
    let (disk, aside) = (dir.join("disk.qcow2"), node.state_dir().join("aside.qcow2"));
    std::fs::rename(&disk, &aside).unwrap();

    web.power("On").await.unwrap();
    web.condition(READY, False, "DiskMissing").await.unwrap();
    web.condition(STALLED, True, "DiskMissing").await.unwrap();
    assert_eq!(web.domain_state().await.unwrap(), "shut off");
    // Nor by an agent that starts, nor for a Domain that is made again.
    let agent = &hand::agent(&cloud, "node-2")[0];
    agent.kill().unwrap();
    let uid = web.get().await.unwrap().metadata.uid.unwrap();
    hand::delete_domain(&cloud, "node-2", &uid).await;
    agent.start().unwrap();
    web.condition(STALLED, True, "DiskMissing").await.unwrap();
    assert!(!disk.exists(), "no blank one");

    std::fs::rename(&aside, &disk).unwrap();
    web.ready("Running").await.unwrap();
    assert_eq!(web.sh("cat ~/kept").await.unwrap(), "kept");
    shop.close().await.unwrap();
}
