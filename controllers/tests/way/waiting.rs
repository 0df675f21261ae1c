//! What an Instance waits for, and that it is tried again by itself.

use crate::hollow::{Hollow, set_taints};
use crate::lab::{Tenant, lab, ready_message, shared};
use serde_json::json;

#[tokio::test]
async fn each_missing_thing_is_named_and_its_coming_helps() {
    let _shared = shared().await;
    let tenant = Tenant::new("missing").await;
    let run = async |args: &[&str]| lab().kubectl(args).await.unwrap().checked().unwrap();
    run(&["delete", "flavor", "missing"]).await;
    run(&["delete", "-n", "missing", "image/disk", "network/blue"]).await;
    tenant.instance("web", &json!({})).await;
    tenant.until("web", "FlavorMissing").await;
    tenant.flavor().await;
    tenant.until("web", "ImageMissing").await;
    tenant.image().await;
    tenant.until("web", "NetworkMissing").await;
    tenant.network().await;
    let status = tenant.until("web", "NoValidHost").await;
    assert!(ready_message(&status).contains("hypervisors"), "{status:?}");
    let _node = Hollow::start("missing-1", "missing").await;
    tenant.until("web", "Running").await;
}

#[tokio::test]
async fn room_taints_and_addresses_wake_whom_they_may_help() {
    let _shared = shared().await;
    let tenant = Tenant::new("room").await;
    let node = Hollow::start("room-1", "room").await;
    let admin = tenant.client.clone();
    let taint = json!([{"key": "maintenance", "effect": "NoSchedule"}]);
    set_taints(&admin, &node.name, &taint).await;
    let fixed = json!({"interfaces": [{"name": "eth0", "network": "blue", "ips": ["10.0.0.9"]}]});
    tenant.instance("one", &fixed).await;
    let status = tenant.until("one", "NoValidHost").await;
    assert!(ready_message(&status).contains("1 taint not tolerated"));
    set_taints(&admin, &node.name, &json!(null)).await;
    tenant.until("one", "Running").await;

    tenant.instance("same", &fixed).await;
    let status = tenant.until("same", "AddressTaken").await;
    assert!(ready_message(&status).contains("room/one"), "{status:?}");
    tenant.delete("one").await;
    tenant.until("same", "Running").await;

    // 4 GiB less 512 MiB hold seven of 512 MiB.
    let others = ["a", "b", "c", "d", "e", "f"];
    for name in others {
        tenant.instance(name, &json!({})).await;
    }
    for name in others {
        tenant.until(name, "Running").await;
    }
    tenant.instance("late", &json!({})).await;
    let status = tenant.until("late", "NoValidHost").await;
    assert!(ready_message(&status).contains("too little memory"));
    tenant.delete("a").await;
    tenant.until("late", "Running").await;
}
