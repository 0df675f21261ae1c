//! The release as an operator handles it.

use kilonova_e2e::wait::{GENEROUS, wait_for};

use crate::{cloud, hand::kubectl, never_noticed, one_on_each};

#[tokio::test]
async fn an_uninstalled_system_leaves_guests_running_and_a_new_one_takes_them_back() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let shop = cloud.tenant("again").await.unwrap();
    let instances = one_on_each(&cloud, &shop).await;
    let mut boots = Vec::new();
    for instance in &instances {
        boots.push(instance.boot_id().await.unwrap());
    }

    cluster.uninstall().await.unwrap();
    wait_for("its pods to be gone", GENEROUS, || async {
        let left = kubectl(&cloud, ["get", "pods", "-A", "-o", "name"]).await;
        if left.contains("kilonova") {
            Err(left)
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    for instance in &instances {
        assert_eq!(instance.domain_state().await.unwrap(), "running");
    }

    cluster.install(&[]).await.unwrap();
    cloud.hypervisors_ready().await.unwrap();
    never_noticed(&instances, &boots).await;
    shop.close().await.unwrap();
    cloud.settled().await.unwrap();
}
