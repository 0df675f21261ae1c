//! A node that has less room than its Hypervisor says.

use kilonova_crds::{
    ConditionStatus::False, condition::types::SCHEDULED, node::Outcome, v1alpha1::PowerState,
};
use kilonova_e2e::{
    cloud::{Cloud, summary},
    lab::Node,
    wait::{GENEROUS, wait_for},
};
use kube::ResourceExt;
use serde_json::json;

use crate::{alone, hand};

#[tokio::test]
async fn a_domain_without_room_is_refused_for_good_and_the_instance_goes_to_another_node() {
    let (_alone, cloud) = alone().await;
    let shop = cloud.tenant("refused").await.unwrap();
    let narrow = cloud.lab().node_named("node-2").unwrap();
    let cordoned = cloud.cordon("node-1").await.unwrap();
    let before = kilonova_e2e::cloud::inventory(narrow).await.unwrap();
    let agent = hand::stop(hand::agent(&cloud, "node-2"));
    let web = shop.create("web", json!({})).await.unwrap();
    let uid = web.get().await.unwrap().uid().unwrap();
    let outcome = || outcome(&cloud, &uid);
    wait_for("its Domain", GENEROUS, || async {
        outcome().await.map(drop)
    })
    .await
    .unwrap();

    // Something of nobody's has taken the memory, and the order to purge is late.
    let controllers = hand::without_controllers(&cloud);
    let scarce = Scarce::on(narrow).await;
    drop(agent);
    wait_for("it to be refused", GENEROUS, || async {
        match outcome().await? {
            Some(Outcome::Refused) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    assert_eq!(reason(&cloud, &uid).await, "InsufficientMemory");
    drop(scarce);
    // Room came back, and an agent that starts does not start it.
    drop(hand::stop(hand::agent(&cloud, "node-2")));
    hand::renewed(&cloud, "node-2").await;
    assert_eq!(outcome().await.unwrap(), Some(Outcome::Refused));
    assert_eq!(reason(&cloud, &uid).await, "InsufficientMemory");
    let seen = kilonova_e2e::cloud::inventory(narrow).await.unwrap();
    let made: Vec<_> = seen.difference(&before).collect();
    assert!(made.is_empty(), "{made:#?}");

    // The node reports what others use of it, too: whatever it says now, it is refused there again.
    let scarce = Scarce::on(narrow).await;
    drop(controllers);
    let waits = web
        .condition(SCHEDULED, False, "NoValidHost")
        .await
        .unwrap();
    assert!(
        summary(&waits).contains("1 refused it"),
        "{}",
        summary(&waits)
    );
    drop(cordoned);
    let running = web.ready("Running").await.unwrap().status.unwrap();
    assert_eq!(running.node_name.as_deref(), Some("node-1"));
    assert_eq!(running.power_state, Some(PowerState::Running));
    drop(scarce);
    hand::nothing_left(&cloud, narrow, &[&running.uuid.unwrap()], &uid).await;
    shop.close().await.unwrap();
}

/// A node with 64 MiB of memory left, as its kernel says until this is dropped.
struct Scarce<'a>(&'a Node);

impl<'a> Scarce<'a> {
    async fn on(node: &'a Node) -> Self {
        let script = "sed 's/^MemAvailable:.*/MemAvailable: 65536 kB/' /proc/meminfo > /run/meminfo\n\
                      mount --bind /run/meminfo /proc/meminfo";
        node.sh(script).await.unwrap();
        Self(node)
    }
}

impl Drop for Scarce<'_> {
    fn drop(&mut self) {
        let undone = self.0.command(["umount", "/proc/meminfo"]).status();
        assert!(undone.unwrap().success());
    }
}

/// Why its Domain on node-2 came to that.
async fn reason(cloud: &Cloud, uid: &str) -> String {
    let domain = hand::domains(cloud, "node-2").get(uid).await.unwrap();
    domain.status.unwrap().reason.unwrap()
}

/// What its Domain on node-2 came to.
async fn outcome(cloud: &Cloud, uid: &str) -> Result<Option<Outcome>, String> {
    let domain = hand::domains(cloud, "node-2").get(uid).await;
    let status = domain.map_err(|e| e.to_string())?.status;
    Ok(status.and_then(|s| s.outcome))
}
