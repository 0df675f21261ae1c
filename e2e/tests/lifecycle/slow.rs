//! What takes its time delays nobody else: stalled downloads, guests that ignore their power button. And images that
//! are wrong.

use std::fs;

use kilonova_crds::{
    ConditionStatus::False,
    condition::types::{IMAGE_READY, READY},
    v1alpha1::PowerState,
};
use kilonova_e2e::{
    build::{self, GuestImage},
    cloud::{Cloud, GUEST_IMAGE, summary},
    lab::Behaviour,
};
use serde_json::{Value, json};

use crate::cloud;

/// An image that the server serves as it is told.
pub struct OwnImage {
    /// The `ClusterImage`.
    pub name: String,
    /// The file at the server.
    pub file: String,
}

/// A copy of the guest's image, under a name and with a checksum of its own (a few bytes more: nodes cache by content).
async fn own_image(cloud: &Cloud, name: &str, checksum: Option<&str>) -> OwnImage {
    let file = format!("{name}.qcow2");
    let path = cloud.images().dir().join(&file);
    let mut bytes = fs::read(cloud.images().dir().join(GUEST_IMAGE)).unwrap();
    bytes.extend(format!("\0\0\0\0{name}").bytes());
    fs::write(&path, &bytes).unwrap();
    let sum = build::sha256(&path).unwrap();
    let checksum = checksum.map_or_else(|| format!("sha256:{sum}"), str::to_owned);
    cloud
        .apply(&[cluster_image(name, &cloud.images().url(&file), &checksum)])
        .await
        .unwrap();
    OwnImage {
        name: name.to_owned(),
        file,
    }
}

fn cluster_image(name: &str, url: &str, checksum: &str) -> Value {
    json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "ClusterImage", "metadata": {"name": name},
        "spec": {"source": {"http": {"url": url, "checksum": checksum}}, "format": "qcow2"},
    })
}

fn of_image(name: &str) -> Value {
    json!({"image": {"kind": "ClusterImage", "name": name}})
}

/// An image whose header can be read, and whose bytes stop coming after a while.
pub async fn stalled_image(cloud: &Cloud, name: &str) -> OwnImage {
    let file = format!("{name}.qcow2");
    cloud.images().behave(&file, Behaviour::StallAfter(1 << 20));
    own_image(cloud, name, None).await
}

#[tokio::test]
async fn a_stalled_download_delays_no_other_instance_and_goes_on_in_the_end() {
    let cloud = cloud().await;
    let shop = cloud.tenant("stalled").await.unwrap();
    let image = stalled_image(&cloud, "stalled").await;
    let slow = shop.create("slow", of_image(&image.name)).await.unwrap();
    slow.condition(READY, False, "ImageDownloading")
        .await
        .unwrap();
    let quick = shop.create("quick", json!({})).await.unwrap();
    quick.ready("Running").await.unwrap();
    let still = slow.status().await.unwrap();
    assert!(
        still
            .power_state
            .is_none_or(|state| state != PowerState::Running),
        "it cannot have started"
    );
    cloud.images().behave(&image.file, Behaviour::Normal);
    slow.ready("Running").await.unwrap();
    let ranges: Vec<_> = cloud.images().requests(&image.file);
    let resumed = ranges.iter().filter_map(|r| r.range.as_deref());
    assert!(
        resumed
            .into_iter()
            .any(|range| range.ends_with('-') && range != "bytes=0-"),
        "what came is not fetched again: {ranges:?}"
    );
    shop.close().await.unwrap();
}

#[tokio::test]
async fn an_image_of_another_checksum_is_refused_with_a_reason_and_can_be_deleted() {
    let cloud = cloud().await;
    let shop = cloud.tenant("checksum").await.unwrap();
    let wrong = format!("sha256:{}", "0".repeat(64));
    let image = own_image(&cloud, "wrong-sum", Some(&wrong)).await;
    let web = shop.create("web-1", of_image(&image.name)).await.unwrap();
    let seen = web
        .condition(IMAGE_READY, False, "ImageChecksumMismatch")
        .await
        .unwrap();
    let text = summary(&seen);
    assert!(text.contains(&wrong[7..]), "says what was expected: {text}");
    assert!(web.domain_state().await.is_err(), "nothing was defined");
    web.delete().await.unwrap();
    web.gone().await.unwrap();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn an_image_that_cannot_be_fetched_says_so_and_recovers_when_it_can() {
    let cloud = cloud().await;
    let shop = cloud.tenant("notfound").await.unwrap();
    // Its header was read once: then it goes away.
    let image = own_image(&cloud, "vanished", None).await;
    let path = cloud.images().dir().join(&image.file);
    image_ready(&cloud, &image.name).await;
    let aside = path.with_extension("aside");
    fs::rename(&path, &aside).unwrap();
    let web = shop.create("web-1", of_image(&image.name)).await.unwrap();
    let seen = web
        .condition(IMAGE_READY, False, "ImageFailed")
        .await
        .unwrap();
    let text = summary(&seen);
    assert!(text.contains("no such file"), "{text}");
    fs::rename(&aside, &path).unwrap();
    web.ready("Running").await.unwrap();

    // Never there: nothing is bound before the header is known.
    let sum = GuestImage::find().unwrap().checksum();
    let nowhere = cluster_image("nowhere", &cloud.images().url("nowhere.qcow2"), &sum);
    cloud.apply(&[nowhere]).await.unwrap();
    let early = shop.create("early", of_image("nowhere")).await.unwrap();
    let seen = early
        .until("it to wait for the image", |instance| {
            let text = summary(instance);
            text.contains("ImageReady=False ImageNotReady") && text.contains("404")
        })
        .await
        .unwrap();
    assert_eq!(seen.status.unwrap().node_name, None);
    fs::copy(
        cloud.images().dir().join(GUEST_IMAGE),
        cloud.images().dir().join("nowhere.qcow2"),
    )
    .unwrap();
    early.ready("Running").await.unwrap();
    shop.close().await.unwrap();
}

/// Waits until the controllers have read an image's header.
async fn image_ready(cloud: &Cloud, name: &str) {
    let wait = ["wait", "--for=condition=Ready", "--timeout=120s"];
    let object = format!("clusterimage/{name}");
    let output = cloud
        .lab()
        .kubectl(wait.into_iter().chain([object.as_str()]))
        .await
        .unwrap();
    output.checked().unwrap();
}

#[tokio::test]
async fn a_guest_that_ignores_its_power_button_is_cut_off_after_the_grace_period() {
    let cloud = cloud().await;
    let shop = cloud.tenant("deaf").await.unwrap();
    let grace = json!({"terminationGracePeriodSeconds": 8});
    let deaf = shop.create("deaf", grace).await.unwrap();
    deaf.ready("Running").await.unwrap();
    let boot = deaf
        .sh("killall acpid; cat /proc/sys/kernel/random/boot_id")
        .await
        .unwrap();
    deaf.power("Off").await.unwrap();
    // Meanwhile others proceed.
    let other = shop
        .create("other", json!({"power": "Paused"}))
        .await
        .unwrap();
    other.ready("Paused").await.unwrap();
    deaf.ready("Stopped").await.unwrap();
    assert_eq!(deaf.domain_state().await.unwrap(), "shut off");
    let why = deaf.virsh("domstate", &["--reason"]).await.unwrap();
    assert_eq!(why, "shut off (destroyed)");
    deaf.power("On").await.unwrap();
    deaf.ready("Running").await.unwrap();
    assert_ne!(deaf.boot_id().await.unwrap(), boot);

    deaf.sh("killall acpid").await.unwrap();
    deaf.delete().await.unwrap();
    deaf.gone().await.unwrap();
    shop.close().await.unwrap();
}
