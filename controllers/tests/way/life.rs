//! From create to gone, where all goes well.

use crate::hollow::Hollow;
use crate::lab::{Tenant, lab, shared};
use kilonova_crds::{Segment, names};
use kilonova_e2e::wait::{GENEROUS, wait_for};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::json;

/// Successful writes to objects of ours with one of these names, in order.
fn writes(objects: &[&str]) -> Vec<String> {
    let mut audit = lab().audit().unwrap();
    // We may be done before the API server has told that kubectl is.
    audit.sort_by_key(|event| event.request_received_timestamp);
    let ours = audit.iter().filter(|event| {
        let object = &event.object_ref;
        event.is_write() && event.succeeded() && objects.contains(&object.name.as_str())
    });
    ours.map(|event| {
        let object = &event.object_ref;
        format!("{} {}/{}", event.verb, object.resource, object.subresource)
    })
    .collect()
}

#[tokio::test]
async fn create_to_running_costs_four_writes_and_nothing_is_left() {
    let _shared = shared().await;
    let tenant = Tenant::new("life").await;
    let node = Hollow::start("life-1", "life").await;
    tenant.instance("first", &json!({})).await;
    tenant.until("first", "Running").await;
    tenant.instance("counted", &json!({})).await;
    let status = tenant.until("counted", "Running").await;
    let uid = tenant.uid("counted").await;
    assert_eq!(
        writes(&["counted", &uid]),
        [
            "create instances/",
            "update instances/status",
            "create domains/",
            "update domains/status",
            "update instances/status",
        ],
        "kubectl's apply, then four of ours"
    );
    assert_eq!(status.addresses.as_deref(), Some("10.0.0.3"));
    assert_eq!(status.node_name.as_deref(), Some("life-1"));

    for name in ["first", "counted"] {
        tenant.delete(name).await;
        tenant.until_gone(name).await;
    }
    let segments: Api<Segment> = Api::namespaced(tenant.client.clone(), &node.namespace);
    let look = || async {
        let domains = node.domains().await.len();
        let segments = segments.list(&ListParams::default()).await.unwrap();
        match domains + segments.items.len() {
            0 => Ok(()),
            left => Err(format!("{left} objects are left")),
        }
    };
    wait_for("an empty node namespace", GENEROUS, look)
        .await
        .unwrap();
}

#[tokio::test]
async fn power_reaches_the_node_and_the_status() {
    let _shared = shared().await;
    let tenant = Tenant::new("power").await;
    let _node = Hollow::start("power-1", "power").await;
    tenant.instance("web", &json!({})).await;
    tenant.until("web", "Running").await;
    for (power, reason) in [
        ("Off", "Stopped"),
        ("Paused", "Paused"),
        ("Suspended", "Suspended"),
        ("On", "Running"),
    ] {
        tenant
            .patch("web", &json!({"spec": {"power": power}}))
            .await;
        tenant.until("web", reason).await;
    }
}

#[tokio::test]
async fn a_network_outlives_what_is_attached_to_it() {
    let _shared = shared().await;
    let tenant = Tenant::new("net").await;
    let _node = Hollow::start("net-1", "net").await;
    tenant.instance("web", &json!({})).await;
    tenant.until("web", "Running").await;
    let networks = tenant.networks();
    let params = DeleteParams::default();
    let deleted = networks.delete("blue", &params).await.unwrap();
    assert!(deleted.is_left(), "it waits");
    tenant.instance("late", &json!({})).await;
    tenant.until("late", "NetworkMissing").await;
    assert!(networks.get_opt("blue").await.unwrap().is_some());
    tenant.delete("web").await;
    let look = || async {
        match networks.get_opt("blue").await.unwrap() {
            None => Ok(()),
            Some(network) => Err(format!("{:?}", network.status)),
        }
    };
    wait_for("the Network to go", GENEROUS, look).await.unwrap();
    tenant.network().await;
    tenant.until("late", "Running").await;
}

#[tokio::test]
async fn a_domain_that_vanishes_is_made_again_and_its_disk_is_not() {
    let _shared = shared().await;
    let tenant = Tenant::new("vanish").await;
    let node = Hollow::start("vanish-1", "vanish").await;
    tenant.instance("web", &json!({})).await;
    tenant.until("web", "Running").await;
    let before = node.domains().await.remove(0);
    let domains: Api<kilonova_crds::Domain> =
        Api::namespaced(tenant.client.clone(), &node.namespace);
    let name = before.name_any();
    domains
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    let look = || async {
        let found = domains.get_opt(&name).await.unwrap();
        found
            .filter(|d| d.uid() != before.uid())
            .ok_or("none but the old one")
    };
    let again = wait_for("the Domain to be made again", GENEROUS, look);
    let again = again.await.unwrap();
    assert_eq!(
        again.spec.root_disk,
        kilonova_crds::node::RootDisk::Existing
    );
    assert!(again.annotations().contains_key(names::LEADER_ANNOTATION));
    tenant.until("web", "Running").await;
}

#[tokio::test]
async fn what_one_node_refuses_goes_to_another() {
    let _shared = shared().await;
    let tenant = Tenant::new("refuse").await;
    let narrow = Hollow::start("refuse-1", "refuse").await;
    narrow.refuse(true);
    tenant.instance("web", &json!({})).await;
    let status = tenant.until("web", "NoValidHost").await;
    assert!(crate::lab::ready_message(&status).contains("1 refused it"));
    assert!(status.uuid.is_some(), "the uuid stays");
    let _wide = Hollow::start("refuse-2", "refuse").await;
    let status = tenant.until("web", "Running").await;
    assert_eq!(status.node_name.as_deref(), Some("refuse-2"));
    let look = || async {
        match narrow.domains().await.as_slice() {
            [] => Ok(()),
            left => Err(format!("{left:?}")),
        }
    };
    wait_for("nothing left where it was refused", GENEROUS, look)
        .await
        .unwrap();
}
