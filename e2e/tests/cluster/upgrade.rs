//! From the release before to this one.

use kilonova_e2e::{
    build::previous::Previous,
    cloud::{InstanceHandle, Tenant},
    cluster::RELEASE,
};
use serde_json::json;

use crate::{cloud, never_noticed, one_on_each};

/// The guests did not notice, and what is asked for now is done.
async fn goes_on(tenant: &Tenant<'_>, instances: &[InstanceHandle<'_>], boots: &[String]) {
    never_noticed(instances, boots).await;
    let new = tenant.create("new", json!({})).await.unwrap();
    new.ready("Running").await.unwrap();
    new.delete().await.unwrap();
    new.gone().await.unwrap();
}

#[tokio::test]
async fn b67_an_upgrade_touches_no_domain_whether_controllers_or_agents_come_first() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let previous = Previous::ensure().unwrap();
    for archive in previous.images().unwrap() {
        for node in cluster.nodes() {
            node.import(&archive).await.unwrap();
        }
    }
    let version = previous.version().unwrap();
    cluster.uninstall().await.unwrap();
    cluster.install_from(&previous.charts(), &[]).await.unwrap();
    cloud.hypervisors_ready().await.unwrap();
    let shop = cloud.tenant("upgrade").await.unwrap();
    let instances = one_on_each(&cloud, &shop).await;
    let mut boots = Vec::new();
    for instance in &instances {
        boots.push(instance.boot_id().await.unwrap());
    }

    for later in ["agents", "controllers"] {
        let later = format!("{later}.image.tag={version}");
        cluster.install(&["--set", &later]).await.unwrap();
        goes_on(&shop, &instances, &boots).await;
        cluster.install(&[]).await.unwrap();
        goes_on(&shop, &instances, &boots).await;
        // And back, for the other order.
        if later.starts_with("agents") {
            let back = ["rollback", "--wait", "--timeout", "4m", RELEASE, "1"];
            cluster.helm(back).await.unwrap().checked().unwrap();
            goes_on(&shop, &instances, &boots).await;
        }
    }
    shop.close().await.unwrap();
    cloud.settled().await.unwrap();
}
