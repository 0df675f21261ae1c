//! What the tests here have in common: a lab as it was at first, and looks at all nodes at once.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Node as KubeNode};
use kilonova_crds::v1alpha1::{Hypervisor, Instance};
use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle},
    wait::{GENEROUS, wait_for},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

/// Undoes what an earlier test, one that failed too, left: Instances, cordons, sizes, labels, programs that are dead.
pub async fn as_at_first(cloud: &Cloud) {
    for controllers in cloud.lab().controllers() {
        controllers.start().unwrap();
    }
    for index in 0..crate::NODES {
        cloud.lab().agent(index).start().unwrap();
        let name = cloud.lab().node(index).name();
        let plain = json!({"unschedulable": null, "overcommit": null, "reserved": null});
        hypervisor(cloud, name, plain).await;
        let labels = json!({"labels": {"speed": null}});
        let spec = json!({"unschedulable": null, "taints": null});
        node(cloud, name, json!({"metadata": labels, "spec": spec})).await;
    }
    cloud.hypervisors_ready().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(cloud.client());
    for instance in instances(cloud).await {
        let namespace = instance.namespace().unwrap();
        let params = DeleteParams::default();
        namespaces.delete(&namespace, &params).await.unwrap();
    }
    wait_for("all Instances to be gone", GENEROUS, || async {
        let left: Vec<_> = instances(cloud).await.iter().map(place).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(left.join(", "))
        }
    })
    .await
    .unwrap();
}

fn place(instance: &Instance) -> String {
    let namespace = instance.namespace().unwrap_or_default();
    format!("{namespace}/{}", instance.name_any())
}

/// Every Instance.
pub async fn instances(cloud: &Cloud) -> Vec<Instance> {
    let api: Api<Instance> = Api::all(cloud.client());
    api.list(&ListParams::default()).await.unwrap().items
}

/// Changes the spec of a Hypervisor, as its operator does.
pub async fn hypervisor(cloud: &Cloud, name: &str, spec: Value) {
    let patch = Patch::Merge(json!({"spec": spec}));
    Api::<Hypervisor>::all(cloud.client())
        .patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Changes a Node by a merge patch.
pub async fn node(cloud: &Cloud, name: &str, change: Value) {
    Api::<KubeNode>::all(cloud.client())
        .patch(name, &PatchParams::default(), &Patch::Merge(change))
        .await
        .unwrap();
}

/// The libvirt domains of all nodes: uuid → the nodes that have one.
pub async fn libvirt_domains(cloud: &Cloud) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in cloud.lab().nodes() {
        let listed = node.virsh(["list", "--all", "--uuid"]).await.unwrap();
        for uuid in listed.split_whitespace() {
            let nodes = found.entry(uuid.to_owned()).or_default();
            nodes.push(node.name().to_owned());
        }
    }
    found
}

/// The node of an Instance, as its status says; its libvirt domain must be there and nowhere else.
pub async fn only_node(cloud: &Cloud, instance: &InstanceHandle<'_>) -> String {
    let status = instance.status().await.unwrap();
    let (uuid, node) = (status.uuid.unwrap(), status.node_name.unwrap());
    let domains = libvirt_domains(cloud).await;
    let name = instance.name();
    assert_eq!(
        domains.get(&uuid),
        Some(&vec![node.clone()]),
        "{name}: {domains:?}"
    );
    node
}
