//! User data that comes from a Secret.

use k8s_openapi::api::core::v1::Secret;
use kilonova_crds::names::node_namespace;
use kube::{Api, api::ListParams};
use serde_json::json;

use crate::cloud;

#[tokio::test]
async fn user_data_of_a_secret_runs_outlives_it_and_stands_nowhere_else() {
    let cloud = cloud().await;
    let shop = cloud.tenant("secretdata").await.unwrap();
    let hidden = "swordfish-0815";
    let script = format!("#!/bin/sh\necho {hidden} > /etc/hidden\necho \"it ran: $(hostname)\"\n");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": {"boot": script},
        "metadata": {"name": "first-boot", "namespace": shop.namespace()},
    });
    cloud.apply(&[secret]).await.unwrap();
    let from = json!({"secretKeyRef": {"name": "first-boot", "key": "boot"}});
    let web = shop
        .create("web-1", json!({"userDataFrom": from}))
        .await
        .unwrap();
    web.ready("Running").await.unwrap();
    web.console_shows("it ran: web-1").await.unwrap();
    assert_eq!(web.sh("cat /etc/hidden").await.unwrap(), hidden);
    let of_node: Api<Secret> = Api::namespaced(cloud.client(), &node_namespace("node-1"));
    let left = of_node.list(&ListParams::default()).await.unwrap().items;
    let uid = web.get().await.unwrap().metadata.uid.unwrap();
    let names: Vec<_> = left
        .iter()
        .filter_map(|s| s.metadata.name.clone())
        .collect();
    assert!(!names.contains(&uid), "{names:?}");

    // A config drive that is lost is made anew, though no Secret is left anywhere.
    let of_shop: Api<Secret> = Api::namespaced(cloud.client(), shop.namespace());
    of_shop
        .delete("first-boot", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    web.power("Off").await.unwrap();
    web.ready("Stopped").await.unwrap();
    let directory = web.node().await.unwrap().state_dir().join("instances");
    let directory = directory.join(web.uuid().await.unwrap());
    let drive = directory.join("config.iso");
    let first = std::fs::read(&drive).unwrap();
    std::fs::remove_file(&drive).unwrap();
    web.power("On").await.unwrap();
    web.ready("Running").await.unwrap();
    let again = std::fs::read(&drive).unwrap();
    for drive in [first, again] {
        let found = drive.windows(hidden.len()).any(|w| w == hidden.as_bytes());
        assert!(found, "the user data is on the drive");
    }

    let record = std::fs::read_to_string(directory.join("record.json")).unwrap();
    assert!(record.contains(&uid) && !record.contains(hidden));
    for service in [cloud.lab().agent(0), &cloud.lab().controllers()[0]] {
        let log = service.log();
        assert!(log.contains(&uid) && !log.contains(hidden), "a log has it");
    }
    shop.close().await.unwrap();
}
