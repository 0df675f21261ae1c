//! The charts' files in the lab, and the credentials that it gives out.

use k8s_openapi::api::{authentication::v1::SelfSubjectReview, core::v1::ConfigMap};
use kilonova_e2e::lab::{Lab, LabOptions, NodeOptions};
use kube::{
    Api,
    api::{ListParams, PostParams},
};

#[tokio::test]
async fn the_charts_files_are_in_force_and_credentials_are_narrow() {
    let node = NodeOptions {
        agent: false,
        ..NodeOptions::new("node-1")
    };
    let lab = Lab::start(LabOptions::new("system").node(node).controllers(0))
        .await
        .unwrap();
    eprintln!("{:?}", lab.timings());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart");
    lab.kubectl(["apply", "-f", file])
        .await
        .unwrap()
        .checked()
        .unwrap();
    let again = lab
        .kubectl(["apply", "-f", file])
        .await
        .unwrap()
        .checked()
        .unwrap();
    assert!(
        again
            .stdout
            .lines()
            .all(|line| line.ends_with(" unchanged")),
        "{}",
        again.stdout
    );
    let finalizers = lab
        .kubectl([
            "get",
            "inst",
            "web-1",
            "-o",
            "jsonpath={.metadata.finalizers}",
        ])
        .await
        .unwrap();
    assert_eq!(finalizers.stdout, r#"["kilonova.dev/instance"]"#);
    let created = lab
        .audit()
        .unwrap()
        .into_iter()
        .filter(|e| e.is_write() && e.succeeded() && e.object_ref.resource == "instances");
    assert!(created.count() >= 1);

    let bound = lab.token("kilonova-agent", Some("node-1")).await.unwrap();
    let agent = lab.client_with_token(&bound).await.unwrap();
    assert!(
        Api::<ConfigMap>::default_namespaced(agent.clone())
            .list(&ListParams::default())
            .await
            .is_err()
    );
    let me = Api::<SelfSubjectReview>::all(agent)
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .unwrap();
    let me = me.status.and_then(|status| status.user_info).unwrap();
    assert_eq!(
        me.username.as_deref(),
        Some("system:serviceaccount:kilonova-agents:kilonova-agent")
    );
    let node = me
        .extra
        .unwrap_or_default()
        .remove("authentication.kubernetes.io/node-name");
    assert_eq!(node, Some(vec!["node-1".to_owned()]));
}
