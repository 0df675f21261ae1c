//! What the nodes are, before anything of ours is on them.

use crate::cloud;

/// A VLAN on a node's physical network, with an address.
const VLAN: &str = r"
ip link add link eth1 name eth1.100 type vlan id 100
ip addr add 192.0.2.NUMBER/24 dev eth1.100
ip link set dev eth1.100 up
";

#[tokio::test]
async fn nodes_are_machines_of_their_own() {
    let (_alone, cloud) = cloud().await;
    for node in cloud.cluster().unwrap().nodes() {
        let kernel = node.sh("uname -r").await.unwrap();
        let ours = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_ne!(kernel, ours);
        assert_eq!(node.sh("hostname").await.unwrap().trim(), node.name());
        let knob = node
            .sh("cat /proc/sys/net/bridge/bridge-nf-call-iptables")
            .await
            .unwrap();
        let rules = node.sh("iptables -S FORWARD").await.unwrap();
        assert_eq!(knob.trim(), "1");
        assert!(rules.starts_with("-P FORWARD DROP"), "{rules}");
    }
}

#[tokio::test]
async fn no_node_can_write_where_the_machine_is() {
    let (_alone, cloud) = cloud().await;
    let node = cloud.cluster().unwrap().node(0);
    let name = format!("/etc/kilonova-{}", std::process::id());
    node.sh(&format!("echo here > {name}; cat {name}"))
        .await
        .unwrap();
    assert!(!std::path::Path::new(&name).exists());
    let mounts = node.sh("grep ' hostfs ' /proc/mounts").await.unwrap();
    let logs = " /var/log/node hostfs ";
    assert!(mounts.lines().all(|line| line.contains(logs)), "{mounts}");
}

#[tokio::test]
async fn tagged_frames_pass_between_nodes() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let capture = cluster.capture("tagged").await.unwrap();
    for (index, node) in cluster.nodes().iter().enumerate() {
        node.sh(&VLAN.replace("NUMBER", &(index + 1).to_string()))
            .await
            .unwrap();
    }
    cluster
        .node(0)
        .sh("ping -c 3 -i 0.2 -W 5 192.0.2.2")
        .await
        .unwrap();
    for node in cluster.nodes() {
        node.sh("ip link del eth1.100").await.unwrap();
    }
    let all = capture.frames("").await.unwrap();
    assert!(all.len() >= 6, "{all:#?}");
    assert!(
        all.iter().all(|frame| frame.contains("vlan 100,")),
        "{all:#?}"
    );
}
