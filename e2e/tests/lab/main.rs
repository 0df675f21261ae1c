//! The lab itself: what all other tests stand on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]

mod charts;
mod existing;
mod guest;
mod images;

use std::{fs, path::Path};

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kilonova_e2e::{
    lab::{ForwardPolicy, Lab, LabOptions, NodeOptions, network},
    process::ProcessId,
    wait::{GENEROUS, wait_for},
};
use kube::{Api, api::ListParams};

/// A control plane and two nodes, with nothing of Kilonova's.
fn two_bare_nodes(name: &str) -> LabOptions {
    let second = NodeOptions {
        forward: ForwardPolicy::DropIptables,
        ..NodeOptions::new("node-2")
    };
    LabOptions::bare(name)
        .node(NodeOptions::new("node-1"))
        .node(second)
}

#[tokio::test]
async fn a_lab_comes_up_serves_and_leaves_nothing() {
    let lab = Lab::start(two_bare_nodes("whole")).await.unwrap();
    eprintln!("{:?}", lab.timings());
    let client = lab.client().await.unwrap();
    let nodes = Api::<Node>::all(client.clone())
        .list(&ListParams::default())
        .await
        .unwrap();
    assert_eq!(nodes.items.len(), 2);
    assert!(
        nodes
            .items
            .iter()
            .all(|n| n.spec.as_ref().is_none_or(|s| s.taints.is_none())),
        "Nodes are not tainted"
    );

    // Controllers that the lab needs: the root certificate is published into a new namespace, and the namespace goes.
    lab.kubectl(["create", "namespace", "shop"])
        .await
        .unwrap()
        .checked()
        .unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client, "shop");
    wait_for(
        "the root certificate in the namespace",
        GENEROUS,
        || async {
            let found = maps
                .get_opt("kube-root-ca.crt")
                .await
                .map_err(|e| e.to_string())?;
            found.ok_or_else(|| "not there".to_owned())
        },
    )
    .await
    .unwrap();
    lab.kubectl(["delete", "namespace", "shop", "--timeout=60s"])
        .await
        .unwrap()
        .checked()
        .unwrap();

    nodes_are_machines_of_their_own(&lab).await;
    libvirtd_can_be_killed_and_comes_back(&lab).await;

    let (dir, init) = (lab.dir().to_path_buf(), lab.process());
    let everything = descendants(init);
    assert!(everything.len() > 8, "{everything:?}");
    drop(lab);
    assert!(!dir.exists(), "the directory is removed");
    assert!(
        !init.is_alive() && everything.iter().all(|p| !p.is_alive()),
        "all processes are gone"
    );
}

async fn nodes_are_machines_of_their_own(lab: &Lab) {
    let (one, two) = (lab.node(0), lab.node(1));
    assert_eq!(one.sh("hostname").await.unwrap().trim(), "node-1");
    let ping = ["ping", "-c", "1", "-W", "5", "10.99.0.12"];
    one.exec(ping).await.unwrap().checked().unwrap();
    two.exec([
        "ping",
        "-c",
        "1",
        "-W",
        "5",
        &network::CONTROL_PLANE.to_string(),
    ])
    .await
    .unwrap()
    .checked()
    .unwrap();
    assert!(
        one.sh("nft list chain inet hostfilter forward")
            .await
            .unwrap()
            .contains("policy drop")
    );
    assert!(
        two.sh("nft list chain ip filter FORWARD")
            .await
            .unwrap()
            .contains("policy drop")
    );
    let calls = "cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null || echo 1";
    assert_eq!(one.sh(calls).await.unwrap().trim(), "1");
    one.sh("ip netns add kn-test; ip netns exec kn-test ip link set lo up; ip netns del kn-test; touch /run/mine").await.unwrap();
    assert!(
        !two.exec(["test", "-e", "/run/mine"])
            .await
            .unwrap()
            .success()
    );
    assert!(!Path::new("/run/mine").exists());
}

async fn libvirtd_can_be_killed_and_comes_back(lab: &Lab) {
    let libvirt = lab.node(0).libvirt();
    let before = libvirt.process().expect("libvirtd runs");
    libvirt.kill().unwrap();
    assert!(libvirt.process().is_none());
    assert!(lab.node(0).virsh(["list"]).await.is_err());
    libvirt.start().await.unwrap();
    assert_ne!(libvirt.process(), Some(before));
    assert_eq!(
        lab.node(0)
            .virsh(["list", "--all", "--name"])
            .await
            .unwrap()
            .trim(),
        ""
    );
}

fn descendants(of: ProcessId) -> Vec<ProcessId> {
    let mut found = vec![of];
    let mut at = 0;
    while let Some(process) = found.get(at) {
        found.extend(process.children());
        at += 1;
    }
    // Those that were started from outside are no children of the first process: all with its process-id namespace.
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let ours = namespace(of.pid);
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_string_lossy().parse().ok());
    found.extend(
        pids.filter(|pid| ours.is_some() && namespace(*pid) == ours)
            .filter_map(ProcessId::of),
    );
    found
}
