//! A tenant's namespace that is deleted.

use kilonova_crds::{
    ConditionStatus::False,
    condition::types::{READY, SCHEDULED},
};
use kilonova_e2e::lab::Behaviour;
use serde_json::json;

use crate::{hand, on, shared};

#[tokio::test]
async fn b64_deleting_the_namespace_deletes_everything_in_it_and_ends() {
    let (_shared, cloud) = shared().await;
    let shop = cloud.tenant("whole").await.unwrap();
    // An image of its own, of which nothing comes.
    let file = "whole.raw";
    let content = vec![7; 4 << 20];
    std::fs::write(cloud.images().dir().join(file), &content).unwrap();
    cloud.images().behave(file, Behaviour::StallAfter(1 << 20));
    let zeroes = format!("sha256:{}", "0".repeat(64));
    let source = json!({"http": {"url": cloud.images().url(file), "checksum": zeroes}});
    let image = shop.object("Image", "slow", &json!({"source": source, "format": "raw"}));
    cloud.apply(&[image]).await.unwrap();

    let running = shop
        .create("running", on("node-1", json!({})))
        .await
        .unwrap();
    let off = on("node-2", json!({"power": "Off"}));
    let off = shop.create("off", off).await.unwrap();
    let coming = on(
        "node-2",
        json!({"image": {"kind": "Image", "name": "slow"}}),
    );
    let coming = shop.create("coming", coming).await.unwrap();
    let nowhere = shop
        .create("nowhere", on("node-9", json!({})))
        .await
        .unwrap();
    running.ready("Running").await.unwrap();
    running.sh("true").await.unwrap();
    off.ready("Stopped").await.unwrap();
    coming
        .condition(READY, False, "ImageDownloading")
        .await
        .unwrap();
    nowhere
        .condition(SCHEDULED, False, "NoValidHost")
        .await
        .unwrap();
    let mut traces = Vec::new();
    for instance in [&running, &off, &coming] {
        let uid = instance.get().await.unwrap().metadata.uid.unwrap();
        let (uuid, netns) = (
            instance.uuid().await.unwrap(),
            instance.netns().await.unwrap(),
        );
        traces.push((instance.node().await.unwrap(), uuid, netns, uid));
    }

    let delete = ["delete", "namespace", "whole", "--timeout=120s"];
    hand::kubectl(&cloud, delete).await;
    for (node, uuid, netns, uid) in traces {
        hand::nothing_left(&cloud, node, &[&uuid, &netns], &uid).await;
    }
    cloud.images().behave(file, Behaviour::Normal);
}
