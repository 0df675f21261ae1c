//! b60: `kubectl wait` and `kubectl delete` end when it is so on the node, and not before.

use serde_json::json;

use crate::{cloud, kubectl, kubectl_with, manifest};

#[tokio::test]
async fn b60_wait_ends_when_the_domain_runs_stops_and_is_gone() {
    let cloud = cloud().await;
    let shop = cloud.tenant("waits").await.unwrap();
    let wait = [
        "wait",
        "--for=condition=Ready",
        "inst/web-1",
        "--timeout=120s",
    ];
    let file = manifest("web-1", json!({}));
    kubectl_with(&cloud, "waits", &["apply"], &file)
        .await
        .checked()
        .unwrap();
    kubectl(&cloud, "waits", &wait).await;
    let web = shop.instance("web-1");
    assert_eq!(web.domain_state().await.unwrap(), "running");
    // A guest that hears its power button.
    web.sh("true").await.unwrap();

    // It was Ready before; kubectl waits for the generation that it made.
    let off = manifest("web-1", json!({"power": "Off"}));
    kubectl_with(&cloud, "waits", &["apply"], &off)
        .await
        .checked()
        .unwrap();
    kubectl(&cloud, "waits", &wait).await;
    assert_eq!(web.domain_state().await.unwrap(), "shut off");
    kubectl_with(&cloud, "waits", &["apply"], &file)
        .await
        .checked()
        .unwrap();
    kubectl(&cloud, "waits", &wait).await;
    assert_eq!(web.domain_state().await.unwrap(), "running");
    let power = [
        "wait",
        "--for=jsonpath={.status.powerState}=Running",
        "inst/web-1",
        "--timeout=120s",
    ];
    kubectl(&cloud, "waits", &power).await;

    let domain = web.domain_name().await.unwrap();
    let gone = ["wait", "--for=delete", "inst/web-1", "--timeout=120s"];
    let delete = ["delete", "inst", "web-1", "--wait=false"];
    kubectl(&cloud, "waits", &delete).await;
    kubectl(&cloud, "waits", &gone).await;
    let listed = cloud
        .lab()
        .node(0)
        .virsh(["list", "--all", "--name"])
        .await
        .unwrap();
    assert!(
        !listed.lines().any(|line| line.trim() == domain),
        "{listed}"
    );
    shop.close().await.unwrap();
}
