//! What an Instance names and nobody has made yet.

use kilonova_crds::{ConditionStatus::False, condition::types::SCHEDULED};
use kilonova_e2e::{
    build::GuestImage,
    cloud::{GUEST_IMAGE, InstanceHandle, summary},
};
use serde_json::json;

use crate::{cloud, world};

#[tokio::test]
async fn b21_what_is_unknown_is_named_and_its_coming_is_enough() {
    let (_alone, cloud) = cloud().await;
    let shop = cloud.tenant("b21").await.unwrap();
    let network = json!([{"name": "eth0", "network": "later"}]);
    let image = json!({"kind": "Image", "name": "later"});
    let cluster = json!({"kind": "ClusterImage", "name": "later"});
    let everything = json!({
        "flavor": "later", "image": image, "interfaces": network, "keyPairs": ["later"],
    });
    let wanted = [
        (
            "flavor",
            json!({"flavor": "later", "power": "Off"}),
            "FlavorMissing",
            "there is no Flavor \"later\"",
        ),
        (
            "image",
            json!({"image": image, "power": "Off"}),
            "ImageMissing",
            "there is no Image \"later\"",
        ),
        (
            "cluster",
            json!({"image": cluster, "power": "Off"}),
            "ImageMissing",
            "there is no ClusterImage \"later\"",
        ),
        (
            "network",
            json!({"interfaces": network, "power": "Off"}),
            "NetworkMissing",
            "there is no Network \"later\" in this namespace",
        ),
        (
            "key",
            json!({"keyPairs": ["later"], "power": "Off"}),
            "KeyPairMissing",
            "there is no KeyPair \"later\" in this namespace",
        ),
    ];
    let all = shop.create("everything", everything).await.unwrap();
    let mut waiting = Vec::new();
    for (name, spec, reason, sentence) in wanted {
        let instance = shop.create(name, spec).await.unwrap();
        waits_for(&instance, reason, sentence).await;
        waiting.push(instance);
    }
    waits_for(&all, "FlavorMissing", "there is no Flavor \"later\"").await;
    let wide = ["get", "inst", "-n", "b21", "-o", "wide"];
    let shown = cloud.lab().kubectl(wide).await.unwrap().stdout;
    assert!(shown.contains("there is no KeyPair \"later\""), "{shown}");
    assert!(world::libvirt_domains(&cloud).await.is_empty());

    // They come, one after the other; it goes on by itself each time.
    let source = json!({
        "source": {"http": {"url": cloud.images().url(GUEST_IMAGE), "checksum": GuestImage::find().unwrap().checksum()}},
        "format": "qcow2",
    });
    let cluster_wide = |kind: &str, spec| json!({"apiVersion": "kilonova.dev/v1alpha1", "kind": kind, "metadata": {"name": "later"}, "spec": spec});
    let flavor = json!({"vcpus": 1, "memory": "128Mi", "disk": "256Mi"});
    cloud
        .apply(&[cluster_wide("Flavor", flavor)])
        .await
        .unwrap();
    waits_for(&all, "ImageMissing", "there is no Image \"later\"").await;
    let images = [
        shop.object("Image", "later", &source),
        cluster_wide("ClusterImage", source),
    ];
    cloud.apply(&images).await.unwrap();
    waits_for(&all, "NetworkMissing", "there is no Network \"later\"").await;
    let subnet = json!({"class": "local", "subnets": [{"cidr": "10.9.0.0/24"}]});
    let network = shop.object("Network", "later", &subnet);
    cloud.apply(&[network]).await.unwrap();
    waits_for(&all, "KeyPairMissing", "there is no KeyPair \"later\"").await;
    let key = json!({"publicKey": cloud.key().public});
    let key_pair = shop.object("KeyPair", "later", &key);
    cloud.apply(&[key_pair]).await.unwrap();
    for instance in &waiting {
        instance.ready("Stopped").await.unwrap();
    }
    all.ready("Running").await.unwrap();
    assert_eq!(all.sh("hostname").await.unwrap(), "everything");
    assert!(all.ip().await.unwrap().starts_with("10.9.0."));
    shop.close().await.unwrap();
}

/// Waits until it says this, in Ready too, and that it is not stalled: nothing of it has to change.
async fn waits_for(instance: &InstanceHandle<'_>, reason: &str, sentence: &str) {
    let waits = instance.condition(SCHEDULED, False, reason).await.unwrap();
    let text = summary(&waits);
    let ready = format!("Ready=False {reason} ");
    assert!(
        text.contains(&ready) && !text.contains("Stalled=True"),
        "{text}"
    );
    let status = waits.status.unwrap();
    assert!(
        status
            .conditions
            .iter()
            .any(|c| c.message.contains(sentence)),
        "{text}"
    );
    assert_eq!(status.node_name, None, "{text}");
}
