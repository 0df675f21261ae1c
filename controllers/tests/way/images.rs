//! Images that are attacks, servers that misbehave, and addresses that a tenant may not name: a
//! reason on each, and the other images go on.

use crate::hollow::Hollow;
use crate::lab::{Tenant, images, lab, shared};
use kilonova_crds::condition::{find, types};
use kilonova_crds::v1alpha1::{ImageKind, ImageStatus};
use kilonova_crds::{ClusterImage, Condition, ConditionStatus, Domain, Image};
use kilonova_e2e::lab::{Behaviour, ImageServer};
use kilonova_e2e::wait::{GENEROUS, wait_for};
use kube::{Api, ResourceExt};
use serde_json::json;
use std::fs;

/// What an image's condition Ready is to say: its reason, and a part of its sentence.
type Said = (&'static str, &'static str);

/// A harmless image of a disk of 1 GiB in qcow2, version 3, with these bytes over it.
fn qcow2(over: &[(usize, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; 0x3_0010];
    let fields: [(usize, &[u8]); 9] = [
        (0, b"QFI\xfb"),
        (4, &3u32.to_be_bytes()),
        (20, &16u32.to_be_bytes()),
        (24, &(1u64 << 30).to_be_bytes()),
        (36, &2u32.to_be_bytes()),
        (40, &0x3_0000u64.to_be_bytes()),
        (48, &0x1_0000u64.to_be_bytes()),
        (56, &1u32.to_be_bytes()),
        (100, &104u32.to_be_bytes()),
    ];
    for (at, bytes) in fields.iter().chain(over) {
        file[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    file
}

fn hostile() -> Vec<(&'static str, Vec<u8>, Said)> {
    let refused = |sentence| ("HeaderRefused", sentence);
    let name = b"/etc/shadow";
    let backing: [(usize, &[u8]); 3] = [
        (8, &0x100u64.to_be_bytes()),
        (16, &11u32.to_be_bytes()),
        (0x100, name),
    ];
    let data: [(usize, &[u8]); 3] = [(79, &[4]), (104, b"DATA\0\0\0\x0b"), (112, name)];
    let one = |at: usize, bytes: &[u8]| qcow2(&[(at, bytes)]);
    vec![
        ("backing", qcow2(&backing), refused("backing file")),
        ("data", qcow2(&data), refused("external file")),
        ("data-hidden", qcow2(&data[1..]), refused("external file")),
        (
            "encrypted",
            one(32, &2u32.to_be_bytes()),
            refused("encrypted"),
        ),
        (
            "huge",
            one(24, &u64::MAX.to_be_bytes()),
            refused("above the limit of 16 TiB"),
        ),
        (
            "l1-huge",
            one(36, &u32::MAX.to_be_bytes()),
            refused("too large to be read"),
        ),
        (
            "l1-far",
            one(40, &(1u64 << 60).to_be_bytes()),
            refused("beyond the file's end"),
        ),
        (
            "refcounts-huge",
            one(56, &u32::MAX.to_be_bytes()),
            refused("too large to be read"),
        ),
        (
            "snapshots-huge",
            one(60, &u32::MAX.to_be_bytes()),
            refused("too large to be read"),
        ),
        (
            "clusters-huge",
            one(20, &63u32.to_be_bytes()),
            refused("cluster size"),
        ),
        (
            "unknown",
            one(72, &[0x80]),
            refused("features that are not supported"),
        ),
        (
            "extensions",
            one(104, b"what\xff\xff\xff\xff"),
            refused("cut short"),
        ),
        ("cut", qcow2(&[])[..60].to_vec(), refused("cut short")),
        ("empty", Vec::new(), refused("empty")),
        (
            "text",
            b"<html>no</html>".to_vec(),
            refused("does not begin as one"),
        ),
    ]
}

/// Waits until an image's condition Ready says that.
async fn until(tenant: &Tenant, name: &str, said: Said) {
    let api: Api<Image> = Api::namespaced(tenant.client.clone(), &tenant.namespace);
    let look = || async { says(api.get(name).await.unwrap().status, said) };
    wait_for(format!("{name} to be {}", said.0), GENEROUS, look)
        .await
        .unwrap();
}

fn says(status: Option<ImageStatus>, (reason, sentence): Said) -> Result<Condition, String> {
    let status = status.unwrap_or_default();
    let ready = find(&status.conditions, types::READY).ok_or("no condition")?;
    let stalled = find(&status.conditions, types::STALLED).is_some();
    let text = format!("{}: {}", ready.reason, ready.message);
    if ready.reason != reason {
        return Err(text);
    }
    assert!(ready.message.contains(sentence), "{text}");
    // Only where another file is needed; servers come back.
    assert_eq!(stalled, reason == "HeaderRefused", "{text}");
    let good = ready.status == ConditionStatus::True;
    assert_eq!(status.virtual_size.is_some(), good, "{text}");
    Ok(ready.clone())
}

#[tokio::test]
async fn each_bad_image_says_why_and_good_ones_go_on() {
    let _shared = shared().await;
    let tenant = Tenant::new("hostile").await;
    let server = images();
    let put = |name: &str, bytes: &[u8]| {
        let file = format!("hostile-{name}.qcow2");
        fs::write(server.dir().join(&file), bytes).unwrap();
        (server.url(&file), file)
    };
    let misbehaving: [(&str, Behaviour, Said); 3] = [
        (
            "circle",
            Behaviour::Circle,
            ("SourceUnreachable", "redirects lead nowhere"),
        ),
        (
            "stall",
            Behaviour::StallAfter(64),
            ("SourceUnreachable", "did not answer in time"),
        ),
        (
            "drop",
            Behaviour::DropAfter(64),
            ("SourceUnreachable", "transfer broke off"),
        ),
    ];
    for (name, behaviour, _) in misbehaving {
        let (url, file) = put(name, &qcow2(&[]));
        server.behave(&file, behaviour);
        tenant.image_at(name, "qcow2", &url).await;
    }
    // A server that behaves again is asked again; soon, while it has not failed often.
    let [(circle, _, said), ..] = misbehaving;
    until(&tenant, circle, said).await;
    server.behave("hostile-circle.qcow2", Behaviour::Normal);
    until(&tenant, circle, ("HeaderRead", "")).await;
    let hostile = hostile();
    for (name, bytes, _) in &hostile {
        tenant.image_at(name, "qcow2", &put(name, bytes).0).await;
    }
    tenant
        .image_at("good", "qcow2", &put("good", &qcow2(&[])).0)
        .await;
    until(&tenant, "good", ("HeaderRead", "")).await;
    for (name, _, said) in hostile {
        until(&tenant, name, said).await;
    }
    for (name, _, said) in &misbehaving[1..] {
        until(&tenant, name, *said).await;
    }
}

#[tokio::test]
async fn only_operators_name_the_controllers_own_loopback() {
    let _shared = shared().await;
    let tenant = Tenant::new("ssrf").await;
    let dir = lab().dir().join("loopback");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("disk.raw"), [0; 4096]).unwrap();
    let loopback = "127.0.0.1:8091".parse().unwrap();
    let server = ImageServer::start(lab().namespaces(), loopback, &dir).unwrap();
    for (name, host) in [
        ("literal", "127.0.0.1:8091"),
        ("short", "127.1:8091"),
        ("hexadecimal", "0x7f000001:8091"),
        ("decimal", "2130706433:8091"),
        ("unspecified", "0.0.0.0:8091"),
        ("mapped", "[::ffff:127.0.0.1]:8091"),
        ("named", "localhost:8091"),
        ("cloud", "169.254.169.254"),
    ] {
        let url = format!("http://{host}/disk.raw");
        tenant.image_at(name, "raw", &url).await;
        let said = (
            "SourceUnreachable",
            "not one that images may be fetched from",
        );
        until(&tenant, name, said).await;
    }
    assert_eq!(
        server.requests("disk.raw"),
        [],
        "a tenant's image was asked for"
    );

    tenant
        .cluster_image_at("loopback", "raw", &server.url("disk.raw"))
        .await;
    let api: Api<ClusterImage> = Api::all(tenant.client.clone());
    let look = || async {
        says(
            api.get("loopback").await.unwrap().status,
            ("HeaderRead", ""),
        )
    };
    wait_for("the operator's to be read", GENEROUS, look)
        .await
        .unwrap();

    // Its node is told whose it is, and only of that one.
    let node = Hollow::start("ssrf-1", "ssrf").await;
    for (name, kind) in [
        ("loopback", ImageKind::ClusterImage),
        ("disk", ImageKind::Image),
    ] {
        let image = json!({"image": {"kind": kind, "name": name}});
        tenant.instance(name, &image).await;
        let status = tenant.until(name, "Running").await;
        assert_eq!(status.image.unwrap().kind, kind);
        let uid = tenant.uid(name).await;
        let domains: Api<Domain> = Api::all(tenant.client.clone());
        let all = domains
            .list(&kube::api::ListParams::default())
            .await
            .unwrap();
        let domain = all.iter().find(|domain| domain.name_any() == uid).unwrap();
        assert_eq!(domain.spec.image.kind, kind, "on {}", node.name);
    }
}
