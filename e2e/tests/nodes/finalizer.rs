//! The finalizer: there before anything is on a node, whether the API server or the controllers give it; and that a
//! deletion, at whatever moment, leaves nothing.

use std::collections::BTreeSet;

use kilonova_crds::{names, v1alpha1::Instance};
use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle, Tenant, empty_inventory, inventory},
    lab::{LabOptions, Node},
    wait::{GENEROUS, wait_for},
};
use serde_json::json;

use crate::{cloud, world};

#[tokio::test]
async fn with_mutating_policies_the_api_server_gives_the_finalizer_and_deletion_leaves_nothing() {
    let (_alone, cloud) = cloud().await;
    let written = life(&cloud, "mutating").await;
    assert_eq!(written, 1, "the finalizer is removed, and was not added");
}

#[tokio::test]
async fn without_mutating_policies_the_controllers_give_the_finalizer_before_the_binding() {
    let options = LabOptions::new("finalizer")
        .nodes(1)
        .without_mutating_policies();
    let cloud = Cloud::start(options).await.unwrap();
    let written = life(&cloud, "plain").await;
    assert_eq!(written, 2, "the finalizer is added and removed");
}

/// Whether an Instance is as far as somebody waits for.
type Moment = fn(&Instance) -> bool;

/// Lives of Instances on the first node; gives how often our programs wrote the one that nobody interrupted, its
/// status apart.
async fn life(cloud: &Cloud, namespace: &str) -> usize {
    let node = cloud.lab().node(0);
    let shop = cloud.tenant(namespace).await.unwrap();
    // The image is cached from here on.
    let first = create(&shop, "first", "Off").await;
    first.ready("Stopped").await.unwrap();
    let known = first.get().await.unwrap();
    first.delete().await.unwrap();
    first.gone().await.unwrap();
    let empty = empty_inventory(node).await.unwrap();

    let web = create(&shop, "web-1", "On").await;
    let history = web.history(&known, is_bound).await.unwrap();
    for state in &history {
        let bound = is_bound(state);
        assert!(has_finalizer(state) || !bound, "{state:?}");
    }
    web.ready("Running").await.unwrap();
    assert_eq!(web.sh("hostname").await.unwrap(), "web-1");
    let full = inventory(node).await.unwrap();
    assert!(full.difference(&empty).count() > 10, "it is seen");
    web.delete().await.unwrap();
    web.gone().await.unwrap();

    // At once; as soon as it has the finalizer, is bound, has something on the node.
    let races = [
        ("at-once", (|_| true) as Moment),
        ("final", has_finalizer),
        ("bound", is_bound),
    ];
    for (name, is_time) in races {
        let instance = create(&shop, name, "On").await;
        let seen = instance.until("its time to come", is_time).await.unwrap();
        instance.delete().await.unwrap();
        instance.gone().await.unwrap();
        nothing_left(cloud, node, &empty, &seen).await;
    }
    let audit = cloud.lab().audit().unwrap();
    let writes = audit.iter().filter(|event| {
        let object = &event.object_ref;
        let of_it = object.resource == "instances" && object.namespace == shop.namespace();
        let ours = event
            .user
            .username
            .starts_with("system:serviceaccount:kilonova");
        of_it && object.name == "web-1" && object.subresource.is_empty() && ours && event.is_write()
    });
    let count = writes.filter(|event| event.succeeded()).count();
    shop.close().await.unwrap();
    count
}

async fn create<'a>(shop: &Tenant<'a>, name: &str, power: &str) -> InstanceHandle<'a> {
    let first = json!({"kubernetes.io/hostname": "node-1"});
    let spec = json!({"power": power, "nodeSelector": first});
    shop.create(name, spec).await.unwrap()
}

fn is_bound(instance: &Instance) -> bool {
    let status = instance.status.as_ref();
    status.is_some_and(|s| s.node_name.is_some())
}

fn has_finalizer(instance: &Instance) -> bool {
    let finalizers = instance.metadata.finalizers.as_ref();
    finalizers.is_some_and(|f| f.iter().any(|f| f == names::INSTANCE_FINALIZER))
}

/// Nothing more is on the node than before, and no Domain is asked for.
async fn nothing_left(cloud: &Cloud, node: &Node, before: &BTreeSet<String>, gone: &Instance) {
    let name = gone.metadata.name.as_deref().unwrap();
    let uid = gone.metadata.uid.as_deref().unwrap();
    assert!(world::libvirt_domains(cloud).await.is_empty(), "{name}");
    wait_for("the Domain to be gone", GENEROUS, || async {
        let args = ["get", "domains.node.kilonova.dev", "-A", "-o", "name"];
        let listed = cloud.lab().kubectl(args).await.map_err(|e| e.to_string())?;
        if listed.stdout.contains(uid) {
            Err(listed.stdout)
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    let after = empty_inventory(node).await.unwrap();
    let left: Vec<_> = after.symmetric_difference(before).collect();
    assert!(left.is_empty(), "{name}: {left:#?}");
}
