//! What an operator does by hand, and what he looks at.

use kilonova_crds::{
    Domain, Instance, names,
    v1alpha1::{Hypervisor, Orphan},
};
use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle, inventory},
    lab::Node,
    process::Service,
    wait::{GENEROUS, wait_for},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

/// Runs kubectl as admin, and gives its output.
pub async fn kubectl<'a>(cloud: &Cloud, args: impl IntoIterator<Item = &'a str>) -> String {
    let output = cloud.lab().kubectl(args).await.unwrap();
    output.checked().unwrap().stdout
}

/// Programs that do not run; they do again when this is dropped.
pub struct Stopped<'a>(&'a [Service]);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        for service in self.0 {
            service.start().unwrap();
        }
    }
}

/// Kills these programs.
pub fn stop(services: &[Service]) -> Stopped<'_> {
    let stopped = Stopped(services);
    for service in services {
        service.kill().unwrap();
    }
    stopped
}

/// Kills the controllers.
pub fn without_controllers(cloud: &Cloud) -> Stopped<'_> {
    stop(cloud.lab().controllers())
}

/// The agent of a node, by the node's name.
pub fn agent<'a>(cloud: &'a Cloud, node: &str) -> &'a [Service] {
    let index = cloud.lab().nodes().iter().position(|n| n.name() == node);
    std::slice::from_ref(cloud.lab().agent(index.unwrap()))
}

/// Removes an Instance by force, while nothing sees its deletion: deleted, its finalizer taken off. Gives its uid.
pub async fn remove_by_force(cloud: &Cloud, instance: &InstanceHandle<'_>) -> String {
    let uid = instance.get().await.unwrap().metadata.uid.unwrap();
    instance.delete().await.unwrap();
    let api: Api<Instance> = Api::namespaced(cloud.client(), instance.namespace());
    let bare = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let params = PatchParams::default();
    api.patch(instance.name(), &params, &bare).await.unwrap();
    instance.gone().await.unwrap();
    uid
}

/// The Domains of a node.
pub fn domains(cloud: &Cloud, node: &str) -> Api<Domain> {
    Api::namespaced(cloud.client(), &names::node_namespace(node))
}

/// Deletes a Domain object.
pub async fn delete_domain(cloud: &Cloud, node: &str, uid: &str) {
    let params = DeleteParams::default();
    domains(cloud, node).delete(uid, &params).await.unwrap();
}

/// Deletes every object of ours that tells the agent of a node what to do, and its Lease.
pub async fn empty(cloud: &Cloud, node: &str) {
    let kinds = "domains.node.kilonova.dev,segments.node.kilonova.dev,secrets,leases";
    let namespace = names::node_namespace(node);
    kubectl(cloud, ["delete", kinds, "--all", "-n", &namespace]).await;
}

/// The orphan of that UUID in a Hypervisor's status.
pub fn orphan(hypervisor: &Hypervisor, uuid: &str) -> Option<Orphan> {
    let orphans = &hypervisor.status.as_ref()?.orphans;
    orphans.iter().find(|o| o.uuid == uuid).cloned()
}

/// Waits until a Hypervisor lists an orphan.
pub async fn listed(cloud: &Cloud, node: &str, uuid: &str) -> Orphan {
    let what = format!("the orphan {uuid}");
    let lists = |h: &Hypervisor| orphan(h, uuid).is_some();
    let hypervisor = cloud.hypervisor(node, &what, lists).await.unwrap();
    orphan(&hypervisor, uuid).unwrap()
}

/// Waits until a Hypervisor lists no orphan.
pub async fn none_listed(cloud: &Cloud, node: &str) {
    let empty = |h: &Hypervisor| h.status.as_ref().is_some_and(|s| s.orphans.is_empty());
    cloud.hypervisor(node, "no orphan", empty).await.unwrap();
}

/// Waits until nothing on a node names any of these words, and no Domain there has this uid.
pub async fn nothing_left(cloud: &Cloud, node: &Node, words: &[&str], uid: &str) {
    wait_for(format!("{words:?} to be gone"), GENEROUS, || async {
        let seen = inventory(node).await.map_err(|e| e.to_string())?;
        let named = |line: &&String| words.iter().any(|word| line.contains(word));
        if let Some(line) = seen.iter().find(named) {
            return Err(line.clone());
        }
        let domain = domains(cloud, node.name()).get_opt(uid).await;
        match domain.map_err(|e| e.to_string())? {
            None => Ok(()),
            Some(domain) => Err(format!("{:?}", domain.spec.disposition)),
        }
    })
    .await
    .unwrap();
}

/// The guest never noticed: it answers, from the same boot, and DHCP gives it its address again.
pub async fn never_noticed(web: &InstanceHandle<'_>, ip: &str, boot: &str) {
    assert_eq!(web.boot_id().await.unwrap(), boot);
    let asks = "udhcpc -i eth0 -n -q -f -t 10 -T 1 -s /bin/true 2>&1";
    let answer = web.sh(asks).await.unwrap();
    assert!(
        answer.contains(&format!("lease of {ip} obtained")),
        "{answer}"
    );
}

/// Waits until the agent that has just started says that it lives: then it has reported.
pub async fn renewed(cloud: &Cloud, node: &str) {
    let before = lease(cloud, node).await.unwrap_or_default();
    wait_for("the Lease to be renewed", GENEROUS, || async {
        match lease(cloud, node).await {
            Some(now) if now != before => Ok(()),
            now => Err(format!("{now:?}")),
        }
    })
    .await
    .unwrap();
}

async fn lease(cloud: &Cloud, node: &str) -> Option<String> {
    let namespace = names::node_namespace(node);
    let version = "-o=jsonpath={.metadata.resourceVersion}";
    let args = [
        "get",
        "lease",
        names::AGENT_LEASE,
        "-n",
        &namespace,
        version,
    ];
    let output = cloud.lab().kubectl(args).await.unwrap();
    output.checked().ok().map(|o| o.stdout)
}
