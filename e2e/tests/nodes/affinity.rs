//! Instances that must be near each other, or must not.

use std::collections::BTreeSet;

use futures::future::join_all;
use kilonova_crds::{ConditionStatus::False, condition::types::SCHEDULED, v1alpha1::Instance};
use kilonova_e2e::{
    cloud::{InstanceHandle, Tenant, summary},
    wait::{GENEROUS, wait_for},
};
use serde_json::{Value, json};

use crate::{NODES, cloud, world};

/// Affinity (or anti-affinity) to the instances with this value of the label `group`, by nodes.
fn rule(kind: &str, group: &str) -> Value {
    let term = json!({
        "labelSelector": {"matchLabels": {"group": group}}, "topologyKey": "kubernetes.io/hostname",
    });
    json!({kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
}

/// Creates instances of a group at the same moment.
async fn group<'a>(
    tenant: &Tenant<'a>,
    group: &str,
    count: usize,
    spec: Value,
) -> Vec<InstanceHandle<'a>> {
    let created = (1..=count).map(|n| {
        let (name, spec) = (format!("{group}-{n}"), spec.clone());
        async move {
            let labels = json!({"group": group});
            tenant.create_labelled(&name, &labels, spec).await.unwrap()
        }
    });
    join_all(created).await
}

#[tokio::test]
async fn b26_an_affinity_pair_is_on_one_node_and_an_anti_affinity_pair_on_two() {
    let (_alone, cloud) = cloud().await;
    let shop = cloud.tenant("b26").await.unwrap();
    let near = json!({"affinity": rule("instanceAffinity", "near")});
    let near = group(&shop, "near", 2, near).await;
    let apart = json!({"power": "Off", "affinity": rule("instanceAntiAffinity", "apart")});
    let apart = group(&shop, "apart", 2, apart).await;
    for instance in &near {
        instance.ready("Running").await.unwrap();
    }
    for instance in &apart {
        instance.ready("Stopped").await.unwrap();
    }
    let one = world::only_node(&cloud, &near[0]).await;
    assert_eq!(world::only_node(&cloud, &near[1]).await, one);
    // A network of the class local connects what is on one node: so the two guests reach each other.
    let other = near[1].ip().await.unwrap();
    near[1].sh("true").await.unwrap();
    near[0]
        .sh(&format!("ping -c 1 -W 10 {other}"))
        .await
        .unwrap();
    let first = world::only_node(&cloud, &apart[0]).await;
    assert_ne!(world::only_node(&cloud, &apart[1]).await, first);
    shop.close().await.unwrap();
}

#[tokio::test]
async fn b27_of_one_more_than_nodes_that_keep_apart_exactly_one_waits_and_says_why() {
    let (_alone, cloud) = cloud().await;
    let shop = cloud.tenant("b27").await.unwrap();
    let spec = json!({"power": "Off", "affinity": rule("instanceAntiAffinity", "apart")});
    let group = group(&shop, "apart", NODES + 1, spec).await;
    let waits = one_waits(&group).await;
    waits
        .condition(SCHEDULED, False, "NoValidHost")
        .await
        .unwrap();
    let text = summary(&waits.get().await.unwrap());
    let why = format!("0/{NODES} hypervisors: {NODES} instance anti-affinity");
    assert!(text.contains(&why), "{text}");

    let mut nodes = BTreeSet::new();
    for instance in group.iter().filter(|i| i.name() != waits.name()) {
        instance.ready("Stopped").await.unwrap();
        nodes.insert(world::only_node(&cloud, instance).await);
    }
    assert_eq!(nodes.len(), NODES, "{nodes:?}");
    assert_eq!(world::libvirt_domains(&cloud).await.len(), NODES);
    assert_eq!(waits.status().await.unwrap().node_name, None);

    // One goes: it takes that one's place, and nobody has to ask.
    let goes = group.iter().find(|i| i.name() != waits.name()).unwrap();
    let freed = goes.status().await.unwrap().node_name.unwrap();
    goes.delete().await.unwrap();
    goes.gone().await.unwrap();
    waits.ready("Stopped").await.unwrap();
    assert_eq!(world::only_node(&cloud, waits).await, freed);
    shop.close().await.unwrap();
}

/// Waits until all but one are bound, and says which is not.
async fn one_waits<'a, 'b>(group: &'b [InstanceHandle<'a>]) -> &'b InstanceHandle<'a> {
    let bound = |i: &Instance| i.status.as_ref().is_some_and(|s| s.node_name.is_some());
    wait_for("all but one to be bound", GENEROUS, || async {
        let mut unbound = Vec::new();
        for instance in group {
            if !bound(&instance.get().await.unwrap()) {
                unbound.push(instance);
            }
        }
        match unbound.as_slice() {
            [one] => Ok(*one),
            _ => Err(format!("{} are not bound", unbound.len())),
        }
    })
    .await
    .unwrap()
}
