//! The agent dies in the middle of a download.

use kilonova_e2e::{
    cloud::{inventory, lawful},
    lab::Behaviour,
    wait::{GENEROUS, wait_for},
};
use serde_json::json;

use crate::stage::{Stage, Troupe};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b50_the_agent_dies_in_the_middle_of_a_download_and_only_the_rest_is_fetched() {
    let stage = Stage::start("faults-download").await;
    stage.play(story(&stage)).await;
}

async fn story(stage: &Stage) {
    let troupe = Troupe::make(stage, "download").await;
    let lab = stage.cloud.lab();
    let alone = inventory(lab.node(0)).await.unwrap();
    let image = stage.name("slow");
    let half = 2 << 20;
    let object = stage.image_object(&image);
    let images = stage.cloud.images();
    images.behave(&image, Behaviour::StallAfter(half));
    stage.cloud.apply(&[object]).await.unwrap();
    let of = json!({"image": {"kind": "ClusterImage", "name": image}});
    let web = troupe.create("web", of.clone()).await;
    let given_up = troupe.create("given-up", of).await;
    let part = "find /var/lib/kilonova/images -name '*.part' -size +1M | wc -l";
    wait_for("half of it to be here", GENEROUS, || async {
        let parts = lab.node(0).sh(part).await.map_err(|e| e.to_string())?;
        if parts.trim() == "1" {
            Ok(())
        } else {
            Err(parts)
        }
    })
    .await
    .unwrap();
    lab.agent(0).kill().unwrap();
    given_up.delete().await.unwrap();
    given_up.gone().await.unwrap();
    images.behave(&image, Behaviour::Normal);
    lab.agent(0).kill().unwrap();
    web.ready("Running").await.unwrap();
    lawful(&stage.cloud).await.unwrap();
    let mut gets = images
        .requests(&image)
        .into_iter()
        .filter(|r| r.method == "GET");
    let last = gets.next_back().unwrap();
    let from = last.range.as_deref().and_then(|r| r.strip_prefix("bytes="));
    let from: u64 = from
        .and_then(|r| r.strip_suffix('-'))
        .unwrap()
        .parse()
        .unwrap();
    assert!(from > 0 && from <= half, "the rest is fetched: {last:?}");
    web.delete().await.unwrap();
    web.gone().await.unwrap();
    stage.as_before(&alone, "download").await;
}
