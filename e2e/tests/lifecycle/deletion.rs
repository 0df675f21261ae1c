//! Deletion, from every state, and that nothing is left.

use kilonova_crds::condition::types::IMAGE_READY;
use kilonova_crds::{ConditionStatus, condition};
use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle, inventory, summary},
    lab::Behaviour,
    wait::{GENEROUS, wait_for},
};
use serde_json::json;

use crate::cloud;

#[tokio::test]
async fn b17_b18_delete_from_running_stopped_paused_suspended_leaves_nothing() {
    let cloud = cloud().await;
    let shop = cloud.tenant("b17").await.unwrap();
    let grace = json!({"terminationGracePeriodSeconds": 20});
    let running = shop.create("running", grace.clone()).await.unwrap();
    let stopped = shop
        .create("stopped", json!({"power": "Off"}))
        .await
        .unwrap();
    let paused = shop
        .create(
            "paused",
            json!({"power": "Paused", "terminationGracePeriodSeconds": 2}),
        )
        .await
        .unwrap();
    let suspended = shop.create("suspended", json!({})).await.unwrap();
    running.sh("true").await.unwrap();
    suspended.ready("Running").await.unwrap();
    suspended.power("Suspended").await.unwrap();
    suspended.ready("Suspended").await.unwrap();
    stopped.ready("Stopped").await.unwrap();
    paused.ready("Paused").await.unwrap();

    for instance in [&running, &stopped, &paused, &suspended] {
        let traces = traces(&cloud, instance).await;
        instance.delete().await.unwrap();
        instance.gone().await.unwrap();
        nothing_left(&cloud, &traces).await;
    }
    shop.close().await.unwrap();
}

/// What names an Instance on its node: uuid, tap, MAC. And, as it is the only tenant's Network, the netns.
struct Traces {
    words: Vec<String>,
    uid: String,
}

async fn traces(cloud: &Cloud, instance: &InstanceHandle<'_>) -> Traces {
    let status = instance.status().await.unwrap();
    let words = vec![
        status.uuid.unwrap(),
        instance.tap().await.unwrap(),
        status.interfaces[0].mac.clone(),
        format!("{}_{}", instance.namespace(), instance.name()),
    ];
    let before = inventory(cloud.lab().node(0)).await.unwrap();
    let seen = before
        .iter()
        .filter(|l| words.iter().any(|w| l.contains(w)));
    assert!(seen.count() >= 3, "it is seen while it is there");
    let uid = instance.get().await.unwrap().metadata.uid.unwrap();
    Traces { words, uid }
}

/// Nothing on the node names it; its Domain goes after it.
async fn nothing_left(cloud: &Cloud, traces: &Traces) {
    let after = inventory(cloud.lab().node(0)).await.unwrap();
    let left: Vec<_> = after
        .iter()
        .filter(|line| traces.words.iter().any(|word| line.contains(word)))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
    let state = cloud.lab().node(0).state_dir();
    let mention = format!(
        "grep -rl --exclude-dir=images -e {} {} /run/kilonova || true",
        traces.words.join(" -e "),
        "/var/lib/kilonova"
    );
    let files = cloud.lab().node(0).sh(&mention).await.unwrap();
    assert_eq!(files.trim(), "", "no file below {}", state.display());
    wait_for("the Domain to go", GENEROUS, || async {
        let args = ["get", "domains.node.kilonova.dev", "-A", "-o", "name"];
        let names = cloud.lab().kubectl(args).await.map_err(|e| e.to_string())?;
        if names.stdout.contains(&traces.uid) {
            Err(names.stdout)
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn b17_delete_while_the_image_is_still_coming() {
    let cloud = cloud().await;
    let shop = cloud.tenant("b17building").await.unwrap();
    let image = crate::slow::stalled_image(&cloud, "b17").await;
    let web = shop
        .create(
            "web-1",
            json!({"image": {"kind": "ClusterImage", "name": image.name}}),
        )
        .await
        .unwrap();
    web.until("the image to be fetched", |instance| {
        let status = instance.status.clone().unwrap_or_default();
        condition::find(&status.conditions, IMAGE_READY)
            .is_some_and(|c| c.status != ConditionStatus::True && c.reason == "ImageDownloading")
    })
    .await
    .unwrap();
    let uuid = web.uuid().await.unwrap();
    web.delete().await.unwrap();
    web.gone().await.unwrap();
    let left = inventory(cloud.lab().node(0)).await.unwrap();
    assert!(!left.iter().any(|line| line.contains(&uuid)), "{left:#?}");
    cloud.images().behave(&image.file, Behaviour::Normal);
    shop.close().await.unwrap();
}

#[tokio::test]
async fn b18_deletion_frees_the_address() {
    let cloud = cloud().await;
    let shop = cloud.tenant("b18").await.unwrap();
    let fixed = json!([{"name": "eth0", "network": "blue", "ips": ["10.0.0.77"]}]);
    let first = shop
        .create("first", json!({"power": "Off", "interfaces": fixed}))
        .await
        .unwrap();
    first.ready("Stopped").await.unwrap();
    let second = shop
        .create("second", json!({"power": "Off", "interfaces": fixed}))
        .await
        .unwrap();
    let waits = second
        .until("it to wait for the address", |instance| {
            let text = summary(instance);
            text.contains("10.0.0.77") && text.contains("first")
        })
        .await
        .unwrap();
    assert_eq!(waits.status.unwrap().node_name, None);
    first.delete().await.unwrap();
    first.gone().await.unwrap();
    second.ready("Stopped").await.unwrap();
    assert_eq!(second.ip().await.unwrap(), "10.0.0.77");
    shop.close().await.unwrap();
}
