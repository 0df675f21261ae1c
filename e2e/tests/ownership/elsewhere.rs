//! An agent that is pointed at another API server.

use std::{fs, path::PathBuf, thread};

use kilonova_crds::{
    condition::{self, types::READY},
    names,
    v1alpha1::Hypervisor,
};
use kilonova_e2e::{
    cloud::{Cloud, inventory},
    lab::{LabOptions, network, run_forwarder, write_private},
    process::Service,
};
use nix::sched::{CloneFlags, setns};
use serde_json::json;

use crate::{alone, hand, on};

/// Where the nodes of this lab reach the other lab's API server.
const PORT: u16 = 7443;

#[tokio::test]
async fn an_agent_that_is_pointed_at_an_empty_api_server_destroys_nothing() {
    let (_alone, cloud) = alone().await;
    let shop = cloud.tenant("elsewhere").await.unwrap();
    let web = shop.create("web", on("node-1", json!({}))).await.unwrap();
    let off = on("node-1", json!({"power": "Off"}));
    let off = shop.create("off", off).await.unwrap();
    off.ready("Stopped").await.unwrap();
    web.ready("Running").await.unwrap();
    let (boot, ip) = (web.boot_id().await.unwrap(), web.ip().await.unwrap());
    let node = cloud.lab().node(0);
    let agent = cloud.lab().agent(0);
    let had = inventory(node).await.unwrap();

    let other = Cloud::start(LabOptions::new("other")).await.unwrap();
    let kubeconfig = credentials(&cloud, &other).await;
    let elsewhere = Elsewhere::point(agent, kubeconfig);
    other
        .hypervisor("node-1", "Ready=True", ready)
        .await
        .unwrap();
    let status = other.hypervisor("node-1", "its report", |h| {
        h.status.as_ref().is_some_and(|s| s.foreign.is_some())
    });
    let status = status.await.unwrap().status.unwrap();
    let foreign = status.foreign.unwrap();
    assert_eq!((foreign.vcpus, foreign.memory), (1, "128Mi".into()));
    assert!(status.orphans.is_empty(), "{:?}", status.orphans);
    hand::never_noticed(&web, &ip, &boot).await;

    // The other cluster's instance of the same namespace and name, beside it.
    let beside = other.tenant("elsewhere").await.unwrap();
    let twin = beside.create("web", json!({})).await.unwrap();
    twin.ready("Running").await.unwrap();
    let twins = node.virsh(["list", "--uuid"]).await.unwrap();
    for uuid in [web.uuid().await.unwrap(), twin.uuid().await.unwrap()] {
        assert!(twins.contains(&uuid), "{twins}");
    }
    hand::never_noticed(&web, &ip, &boot).await;
    twin.delete().await.unwrap();
    twin.gone().await.unwrap();
    let has = inventory(node).await.unwrap();
    let differences: Vec<_> = has.symmetric_difference(&had).collect();
    assert!(differences.is_empty(), "{differences:#?}");

    drop(elsewhere);
    off.power("On").await.unwrap();
    off.ready("Running").await.unwrap();
    web.ready("Running").await.unwrap();
    hand::none_listed(&cloud, "node-1").await;
    hand::never_noticed(&web, &ip, &boot).await;
    shop.close().await.unwrap();
}

fn ready(hypervisor: &Hypervisor) -> bool {
    let status = hypervisor.status.as_ref();
    status.is_some_and(|s| condition::is_true(&s.conditions, READY))
}

/// Makes the Node in the other lab, a way to its API server from this one, and the agent's credentials there.
async fn credentials(cloud: &Cloud, other: &Cloud) -> PathBuf {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}});
    other.apply(&[node]).await.unwrap();
    let untainted = [
        "patch",
        "node",
        "node-1",
        "-p",
        r#"{"spec": {"taints": null}}"#,
    ];
    hand::kubectl(other, untainted).await;
    let listen = (network::CONTROL_PLANE, PORT).into();
    let to = (network::CONTROL_PLANE, network::API_PORT).into();
    let here = cloud.lab().namespaces().network().unwrap();
    let there = PathBuf::from(format!("/proc/{}/ns/net", other.lab().process().pid));
    let dir = other.lab().dir().to_owned();
    let report = dir.join("elsewhere.address");
    thread::spawn(move || {
        setns(here, CloneFlags::CLONE_NEWNET).unwrap();
        run_forwarder(listen, &there, to, &report).unwrap();
    });
    let account = names::AGENT_SERVICE_ACCOUNT;
    let token = other.lab().token(account, Some("node-1")).await.unwrap();
    let (path, token_file) = (dir.join("agent.kubeconfig"), dir.join("agent.token"));
    write_private(&token_file, &token).unwrap();
    let server = format!("https://{}:{PORT}", network::CONTROL_PLANE);
    let authority = dir.join("pki/ca.crt");
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "other",
        "clusters": [{"name": "other", "cluster": {"server": server, "certificate-authority": authority}}],
        "users": [{"name": "other", "user": {"tokenFile": token_file}}],
        "contexts": [{"name": "other", "context": {"cluster": "other", "user": "other"}}],
    });
    fs::write(&path, kubeconfig.to_string()).unwrap();
    path
}

/// An agent that serves another API server; dropped, it serves its own again.
struct Elsewhere<'a> {
    agent: &'a Service,
    own: PathBuf,
}

impl<'a> Elsewhere<'a> {
    fn point(agent: &'a Service, kubeconfig: PathBuf) -> Self {
        let own = restart(agent, kubeconfig);
        Self { agent, own }
    }
}

impl Drop for Elsewhere<'_> {
    fn drop(&mut self) {
        restart(self.agent, self.own.clone());
    }
}

/// Starts it anew with that kubeconfig, and gives the one that it had.
fn restart(agent: &Service, kubeconfig: PathBuf) -> PathBuf {
    let mut had = PathBuf::new();
    agent.kill().unwrap();
    agent.configure(|launch| {
        let at = launch.args.iter().position(|arg| arg == "--kubeconfig");
        let value = &mut launch.args[at.unwrap() + 1];
        had = PathBuf::from(std::mem::replace(value, kubeconfig.into_os_string()));
    });
    agent.start().unwrap();
    had
}
