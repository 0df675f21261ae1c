//! What an operator does by hand, and what he looks at.

use std::time::Instant;

use kilonova_crds::{Domain, names};
use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle, Tenant},
    cluster::{Cluster, ClusterNode},
    lab::{AuditEvent, Machine},
    wait::{GENEROUS, wait_for},
};
use kube::Api;
use serde_json::{Value, json};

/// Runs kubectl as admin, and gives its output.
pub async fn kubectl<'a>(cloud: &Cloud, args: impl IntoIterator<Item = &'a str>) -> String {
    let output = cloud.lab().kubectl(args).await.unwrap();
    output.checked().unwrap().stdout
}

/// The spec of an Instance that goes to that node, with what `more` has.
pub fn on(node: &str, more: Value) -> Value {
    let mut spec = json!({"nodeSelector": {"kubernetes.io/hostname": node}});
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
        spec.extend(more);
    }
    spec
}

/// Which boot of each guest it is.
pub async fn boots(instances: &[InstanceHandle<'_>]) -> Vec<String> {
    let mut boots = Vec::new();
    for instance in instances {
        boots.push(instance.boot_id().await.unwrap());
    }
    boots
}

/// The UUIDs of libvirt's domains on a node, running or not.
pub async fn libvirt_domains(node: &Machine) -> Vec<String> {
    let listed = node.virsh(["list", "--all", "--uuid"]).await.unwrap();
    let mut uuids: Vec<_> = listed.split_whitespace().map(str::to_owned).collect();
    uuids.sort();
    uuids
}

/// Waits until nothing of a domain is on a node, and no Domain there has this uid.
pub async fn nothing_left(cloud: &Cloud, node: &Machine, uuid: &str, uid: &str) {
    let domains: Api<Domain> = Api::namespaced(cloud.client(), &names::node_namespace(node.name()));
    let find = format!(
        "virsh -q list --all --uuid | grep {uuid} || true
         find /var/lib/kilonova/instances /run/kilonova -name '*{uuid}*'
         pgrep -af {uuid} || true"
    );
    wait_for(format!("{uuid} to be gone"), GENEROUS, || async {
        let seen = node.sh(&find).await.map_err(|e| e.to_string())?;
        if !seen.trim().is_empty() {
            return Err(seen);
        }
        match domains.get_opt(uid).await.map_err(|e| e.to_string())? {
            None => Ok(()),
            Some(domain) => Err(format!("{:?}", domain.spec.disposition)),
        }
    })
    .await
    .unwrap();
}

/// What objects of our kinds were written since the audit log had `before` entries, of some nodes and of a tenant:
/// resource and subresource of each, sorted.
pub fn written(
    cluster: &Cluster,
    before: usize,
    nodes: &[&ClusterNode],
    tenant: &Tenant<'_>,
) -> Vec<String> {
    let mut places = vec![tenant.namespace().to_owned()];
    places.extend(nodes.iter().map(|node| names::node_namespace(node.name())));
    let about = |event: &&AuditEvent| {
        let object = &event.object_ref;
        let is_node = |node: &&ClusterNode| object.name == node.name();
        let hypervisor = object.resource == "hypervisors" && nodes.iter().any(is_node);
        hypervisor || places.contains(&object.namespace)
    };
    let audit = cluster.audit().unwrap().split_off(before);
    let writes = audit.iter().filter(|e| e.is_write() && e.succeeded());
    let mut kinds: Vec<_> = writes.filter(about).map(kind).collect();
    kinds.sort();
    kinds
}

fn kind(event: &AuditEvent) -> String {
    let object = &event.object_ref;
    format!("{}/{}", object.resource, object.subresource)
}

/// Says how long something took: it is a figure that people ask for.
pub fn took(what: &str, since: Instant) {
    println!("{what}: {:.1} s", since.elapsed().as_secs_f64());
}
