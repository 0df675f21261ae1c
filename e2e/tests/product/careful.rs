//! b61: who asks what would happen, or mistypes, harms no guest.

use kilonova_crds::names;
use kilonova_e2e::lab::AuditEvent;
use serde_json::json;

use crate::{cloud, kubectl, kubectl_with, manifest, try_kubectl};

#[tokio::test]
async fn b61_a_dry_run_makes_stops_and_deletes_nothing() {
    let cloud = cloud().await;
    let shop = cloud.tenant("dry").await.unwrap();
    let web = shop.create("web-1", json!({})).await.unwrap();
    web.ready("Running").await.unwrap();
    let boot = web.boot_id().await.unwrap();
    let before = web.get().await.unwrap();
    let domains = names::node_namespace("node-1");
    let dry = ["apply", "--dry-run=server"];

    let made = kubectl_with(&cloud, "dry", &dry, &manifest("web-2", json!({}))).await;
    assert!(
        made.checked()
            .unwrap()
            .stdout
            .contains("web-2 created (server dry run)")
    );
    let off = manifest("web-1", json!({"power": "Off"}));
    let off = kubectl_with(&cloud, "dry", &dry, &off)
        .await
        .checked()
        .unwrap();
    assert!(
        off.stdout.contains("web-1 configured (server dry run)"),
        "{off:?}"
    );
    let delete = kubectl(
        &cloud,
        "dry",
        &["delete", "inst", "web-1", "--dry-run=server"],
    )
    .await;
    assert!(
        delete.contains("deleted") && delete.contains("(server dry run)"),
        "{delete}"
    );
    // A dry run is refused for what the real one would be.
    let wrong = kubectl_with(
        &cloud,
        "dry",
        &dry,
        &manifest("web-1", json!({"flavor": "duo"})),
    )
    .await;
    assert!(
        !wrong.success() && wrong.stderr.contains("flavor is immutable"),
        "{wrong:?}"
    );

    // One that is made after all of that: where it runs, the earlier ones would have had their effect.
    let later = shop.create("later", json!({})).await.unwrap();
    later.ready("Running").await.unwrap();
    let listed = kubectl(&cloud, "dry", &["get", "inst", "-o", "name"]).await;
    assert_eq!(
        listed,
        "instance.kilonova.dev/later\ninstance.kilonova.dev/web-1\n"
    );
    let after = web.get().await.unwrap();
    assert_eq!(
        after.metadata.resource_version,
        before.metadata.resource_version
    );
    assert_eq!(web.boot_id().await.unwrap(), boot);
    let names =
        "-o=jsonpath={range .items[*]}{.spec.instance.namespace}/{.spec.instance.name} {end}";
    let made = kubectl(&cloud, &domains, &["get", "dom", names]).await;
    assert!(
        made.contains("dry/web-1") && !made.contains("dry/web-2"),
        "{made}"
    );
    let of_it = |event: &AuditEvent| {
        let object = &event.object_ref;
        object.namespace == "dry"
            && object.name == "web-2"
            && !event.user.username.contains("admin")
    };
    let events = cloud.lab().audit().unwrap();
    assert!(!events.iter().any(of_it), "nobody of ours has heard of it");
    shop.close().await.unwrap();
}

#[tokio::test]
async fn b61_a_mistyped_field_is_refused_whole_or_warned_about() {
    let cloud = cloud().await;
    let shop = cloud.tenant("strict").await.unwrap();
    let file = manifest("web-1", json!({}));
    kubectl_with(&cloud, "strict", &["apply"], &file)
        .await
        .checked()
        .unwrap();
    let web = shop.instance("web-1");
    web.ready("Running").await.unwrap();
    web.sh("true").await.unwrap();
    let before = web.get().await.unwrap();

    // Refused with all that is beside it: the guest runs on.
    let mistyped = manifest("web-1", json!({"power": "Off", "powr": "Off"}));
    let refused = kubectl_with(&cloud, "strict", &["apply", "--validate=strict"], &mistyped).await;
    assert!(
        !refused.success() && refused.stderr.contains("unknown field \"spec.powr\""),
        "{refused:?}"
    );
    // A patch is not strict: it says so, and changes nothing.
    let patch = [
        "patch",
        "inst",
        "web-1",
        "--type=merge",
        "-p",
        r#"{"spec":{"powr":"Off"}}"#,
    ];
    let patched = try_kubectl(&cloud, "strict", &patch).await;
    assert!(
        patched.stderr.contains("unknown field \"spec.powr\""),
        "{patched:?}"
    );
    let after = web.get().await.unwrap();
    assert_eq!(
        after.metadata.resource_version,
        before.metadata.resource_version
    );
    assert_eq!(web.domain_state().await.unwrap(), "running");

    // Where warnings are enough, what is known is carried out and what is not is left out.
    let warned = kubectl_with(&cloud, "strict", &["apply", "--validate=warn"], &mistyped).await;
    let warned = warned.checked().unwrap();
    assert!(
        warned
            .stderr
            .contains("Warning: unknown field \"spec.powr\""),
        "{warned:?}"
    );
    web.ready("Stopped").await.unwrap();
    let kept = kubectl(
        &cloud,
        "strict",
        &["get", "inst", "web-1", "-o", "jsonpath={.spec}"],
    )
    .await;
    assert!(
        kept.contains("\"power\":\"Off\"") && !kept.contains("powr"),
        "{kept}"
    );
    shop.close().await.unwrap();
}
