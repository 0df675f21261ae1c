//! Kilonova on real Kubernetes nodes: kubelets, containers and guests on machines of their own, installed from the
//! charts. All tests share one cluster, one after the other; some upset it, and each leaves it whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]
#![allow(
    clippy::similar_names,
    reason = "an Instance has a uid, and its libvirt domain a uuid"
)]

mod bare;
mod drain;
mod gone;
mod guests;
mod hand;
mod isolated;
mod lost;
mod nodes;
mod power;
mod release;
mod stolen;
mod upgrade;
mod vlans;

use kilonova_e2e::{
    build::images,
    cloud::{Cloud, InstanceHandle, Tenant},
    cluster::{Cluster, ClusterOptions},
};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// One test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The right to take the machine for a cluster of a test's own.
async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

/// The cluster of this program, with the charts installed and nothing set, and the right to upset it.
async fn cloud() -> (MutexGuard<'static, ()>, Cloud) {
    static SHARED: OnceCell<Cloud> = OnceCell::const_new();
    let alone = alone().await;
    let shared = SHARED.get_or_init(|| async {
        let options = ClusterOptions::new("cluster", 2).images(images::product().unwrap());
        let cluster = Cluster::start(options).await.unwrap();
        cluster.install(&[]).await.unwrap();
        Cloud::on(cluster).await.unwrap()
    });
    let cloud = shared.await.again().await.unwrap();
    let cluster = cloud.cluster().unwrap();
    for node in cluster.nodes() {
        // A test that failed may have left it cut off.
        cluster.join(node).await.unwrap();
    }
    cloud.hypervisors_ready().await.unwrap();
    (alone, cloud)
}

/// An Instance on each node, running, with a guest that answers.
async fn one_on_each<'a>(cloud: &'a Cloud, tenant: &Tenant<'a>) -> Vec<InstanceHandle<'a>> {
    let mut instances = Vec::new();
    for node in cloud.cluster().unwrap().nodes() {
        let spec = json!({"nodeSelector": {"kubernetes.io/hostname": node.name()}});
        instances.push(
            tenant
                .create(&format!("on-{}", node.name()), spec)
                .await
                .unwrap(),
        );
    }
    for instance in &instances {
        instance.ready("Running").await.unwrap();
        instance.sh("true").await.unwrap();
    }
    instances
}

/// All run, and it is still the boot that it was.
async fn never_noticed(instances: &[InstanceHandle<'_>], boots: &[String]) {
    for (instance, boot) in instances.iter().zip(boots) {
        instance.ready("Running").await.unwrap();
        let now = instance.boot_id().await.unwrap();
        assert_eq!(&now, boot, "{}", instance.name());
    }
}
