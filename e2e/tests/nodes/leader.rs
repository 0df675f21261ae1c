//! The leader of the controllers is killed, or frozen for long, while instances are being created.

use std::collections::BTreeSet;

use k8s_openapi::api::coordination::v1::Lease;
use kilonova_crds::names::LEADER_LEASE;
use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle, Tenant},
    lab::SYSTEM_NAMESPACE,
    process::Service,
    wait::{GENEROUS, wait_for},
};
use kube::Api;
use serde_json::json;

use crate::{cloud, world};

/// How often the Lease changed hands, and the replica that has it.
async fn leader(cloud: &Cloud) -> (i32, &Service) {
    wait_for("a leader", GENEROUS, || async {
        let leases: Api<Lease> = Api::namespaced(cloud.client(), SYSTEM_NAMESPACE);
        let lease = leases.get(LEADER_LEASE).await.map_err(|e| e.to_string())?;
        let transitions = lease.spec.and_then(|s| s.lease_transitions).unwrap_or(0);
        let says = format!("leading transitions={transitions}");
        let mut replicas = cloud.lab().controllers().iter();
        let leads = replicas.find(|c| c.log().lines().any(|line| line.ends_with(&says)));
        leads.map(|c| (transitions, c)).ok_or(says)
    })
    .await
    .unwrap()
}

/// Waits until another has the Lease.
async fn another_leads<'a>(cloud: &'a Cloud, before: i32, not: &Service) -> &'a Service {
    let found = wait_for("another leader", GENEROUS, || async {
        match leader(cloud).await {
            (now, leads) if now > before => Ok(leads),
            (now, _) => Err(format!("transitions {now}")),
        }
    });
    let leads = found.await.unwrap();
    assert_ne!(leads.name(), not.name());
    leads
}

#[tokio::test]
async fn another_leader_goes_on_where_a_killed_one_was_and_no_guest_notices() {
    let (_alone, cloud) = cloud().await;
    let shop = cloud.tenant("killedleader").await.unwrap();
    let before = shop.create("before", json!({})).await.unwrap();
    before.ready("Running").await.unwrap();
    let boot = before.boot_id().await.unwrap();

    let (transitions, killed) = leader(&cloud).await;
    let mut all = create(&shop, 1..=2).await;
    some_is_bound(&all).await;
    killed.kill().unwrap();
    all.extend(create(&shop, 3..=4).await);
    another_leads(&cloud, transitions, killed).await;
    killed.start().unwrap();
    come_to_be_once(&cloud, &before, &boot, &all).await;
    shop.close().await.unwrap();
}

#[tokio::test]
async fn a_leader_that_was_frozen_while_another_led_ends_and_changes_nothing() {
    let (_alone, cloud) = cloud().await;
    let shop = cloud.tenant("frozenleader").await.unwrap();
    let before = shop.create("before", json!({})).await.unwrap();
    before.ready("Running").await.unwrap();
    let boot = before.boot_id().await.unwrap();

    let (transitions, frozen) = leader(&cloud).await;
    let mut all = create(&shop, 1..=2).await;
    some_is_bound(&all).await;
    let ice = frozen.freeze().unwrap();
    all.extend(create(&shop, 3..=4).await);
    another_leads(&cloud, transitions, frozen).await;
    drop(ice);
    wait_for("the late leader to end", GENEROUS, || async {
        if frozen.is_running() {
            Err("it runs")
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    frozen.start().unwrap();
    come_to_be_once(&cloud, &before, &boot, &all).await;
    shop.close().await.unwrap();
}

async fn create<'a>(
    shop: &Tenant<'a>,
    numbers: impl Iterator<Item = u32>,
) -> Vec<InstanceHandle<'a>> {
    let created = numbers.map(|n| async move {
        let name = format!("web-{n}");
        shop.create(&name, json!({})).await.unwrap()
    });
    futures::future::join_all(created).await
}

async fn some_is_bound(instances: &[InstanceHandle<'_>]) {
    wait_for("one to be bound", GENEROUS, || async {
        for instance in instances {
            let status = instance.status().await.map_err(|e| e.to_string())?;
            if status.node_name.is_some() {
                return Ok(());
            }
        }
        Err("none is".to_owned())
    })
    .await
    .unwrap();
}

/// All run, each on one node, with an address and a MAC of its own; the guest that ran before is none the wiser.
async fn come_to_be_once(
    cloud: &Cloud,
    before: &InstanceHandle<'_>,
    boot: &str,
    created: &[InstanceHandle<'_>],
) {
    let (mut addresses, mut macs) = (BTreeSet::new(), BTreeSet::new());
    for instance in created.iter().chain([before]) {
        instance.ready("Running").await.unwrap();
        world::only_node(cloud, instance).await;
        assert_eq!(instance.domain_state().await.unwrap(), "running");
        let status = instance.status().await.unwrap();
        let name = instance.name();
        assert!(addresses.insert(status.addresses), "{name}: address twice");
        let mac = status.interfaces[0].mac.clone();
        assert!(macs.insert(mac), "{name}: MAC twice");
    }
    let domains = world::libvirt_domains(cloud).await;
    assert_eq!(domains.len(), created.len() + 1, "{domains:?}");
    assert_eq!(before.boot_id().await.unwrap(), boot);
    for instance in created {
        assert_eq!(instance.sh("hostname").await.unwrap(), instance.name());
        let console = instance.console().await.unwrap();
        let boots = console.matches("guest: boot_id").count();
        assert_eq!(boots, 1, "{}: {console}", instance.name());
    }
}
