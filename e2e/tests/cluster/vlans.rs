//! Networks between nodes, over the trunk.

use kilonova_crds::v1alpha1::{Hypervisor, Network};
use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle, Tenant},
    wait::{GENEROUS, wait_for},
};
use kube::Api;
use serde_json::json;

use crate::cloud;

/// The class of the Networks; the trunk is the nodes' `eth1`.
const CLASS: &str = "trunk";
const SETTING: &str = "agents.groups.default.physicalNetworks.physnet1=eth1";
/// The subnet of each of them.
const SUBNET: &str = "10.9.0.0/24";
/// Only the second Network has this address.
const ELSEWHERE: &str = "10.9.0.77";
const MIB: u64 = 1 << 20;

/// Makes the Network `wire` of a tenant, and gives its VLAN's id.
async fn wire(cloud: &Cloud, tenant: &Tenant<'_>) -> u32 {
    let spec = json!({"class": CLASS, "subnets": [{"cidr": SUBNET}]});
    let network = tenant.object("Network", "wire", &spec);
    cloud.apply(&[network]).await.unwrap();
    let api: Api<Network> = Api::namespaced(cloud.client(), tenant.namespace());
    wait_for("the Network to have a VLAN", GENEROUS, || async {
        let found = api.get("wire").await.map_err(|e| e.to_string())?;
        let status = found.status.clone();
        let segment = status.and_then(|s| s.segment).and_then(|s| s.id);
        segment.ok_or_else(|| format!("{:?}", found.status))
    })
    .await
    .unwrap()
}

async fn on<'a>(tenant: &Tenant<'a>, node: &str, ips: &[&str]) -> InstanceHandle<'a> {
    let mut interface = json!({"name": "eth0", "network": "wire"});
    if !ips.is_empty() {
        interface["ips"] = json!(ips);
    }
    let spec = json!({
        "nodeSelector": {"kubernetes.io/hostname": node}, "interfaces": [interface],
    });
    tenant.create(&format!("on-{node}"), spec).await.unwrap()
}

fn has_the_trunk(hypervisor: &Hypervisor) -> bool {
    let status = hypervisor.status.as_ref();
    status.is_some_and(|s| s.physical_networks.iter().any(|name| name == "physnet1"))
}

/// What a guest gets of `count` pings to an address.
async fn pings(guest: &InstanceHandle<'_>, address: &str) -> String {
    let ping = format!("ping -c 5 -W 5 {address} | grep received");
    guest.ssh(&ping).await.unwrap().stdout
}

#[tokio::test]
async fn b38_instances_of_a_network_meet_between_nodes_in_their_vlan_and_no_others() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    cluster.install(&["--set", SETTING]).await.unwrap();
    let names: Vec<_> = cluster.nodes().iter().map(|n| n.name()).collect();
    for name in &names {
        let what = "the trunk to be told of";
        cloud.hypervisor(name, what, has_the_trunk).await.unwrap();
    }
    let class = json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "NetworkClass", "metadata": {"name": CLASS},
        "spec": {"type": "vlan", "physicalNetwork": "physnet1", "ids": ["100-101"]},
    });
    cloud.apply(&[class]).await.unwrap();
    let (left, right) = (
        cloud.tenant("left").await.unwrap(),
        cloud.tenant("right").await.unwrap(),
    );
    let ids = (wire(&cloud, &left).await, wire(&cloud, &right).await);
    assert_ne!(ids.0, ids.1);
    let capture = cluster.capture("vlans").await.unwrap();
    let (one, two) = (
        on(&left, names[0], &[]).await,
        on(&left, names[1], &[]).await,
    );
    let other = on(&right, names[1], &[ELSEWHERE]).await;
    for guest in [&one, &two, &other] {
        guest.ready("Running").await.unwrap();
        guest.sh("true").await.unwrap();
    }
    let (from, to) = (one.ip().await.unwrap(), two.ip().await.unwrap());
    assert!(pings(&one, &to).await.contains("5 packets received"));
    assert!(pings(&two, &from).await.contains("5 packets received"));
    assert!(pings(&one, ELSEWHERE).await.contains("0 packets received"));
    assert!(pings(&two, ELSEWHERE).await.contains("0 packets received"));

    // Whole packets, for long enough to meet every limit on the way. Of busybox's nc, each half ends with its input;
    // the port is in hexadecimal there.
    let bytes = 50 * MIB;
    let receive = "(sleep 1000 | nc -l -p 5000 | wc -c > ~/count) > /dev/null 2>&1 &
        until grep -qs ':1388 ' /proc/net/tcp /proc/net/tcp6; do usleep 100000; done";
    two.sh(receive).await.unwrap();
    let send = format!("dd if=/dev/zero bs=1M count={} | nc {to} 5000", bytes / MIB);
    one.sh(&format!("({send}) > /dev/null 2>&1 &"))
        .await
        .unwrap();
    wait_for("all of it to be there", GENEROUS, || async {
        let count = two.sh("cat ~/count").await.map_err(|e| e.to_string())?;
        if count.trim() == bytes.to_string() {
            Ok(())
        } else {
            Err(count)
        }
    })
    .await
    .unwrap();

    let frames = capture.frames("").await.unwrap();
    let tagged = format!("vlan {},", ids.0);
    let strays: Vec<_> = frames.iter().filter(|f| !f.contains(&tagged)).collect();
    let (own, strays): (Vec<_>, Vec<_>) = strays
        .into_iter()
        .partition(|frame| frame.contains(&format!("vlan {},", ids.1)));
    assert!(strays.is_empty(), "{strays:#?}");
    // What the second Network has there is its own, and neither a gateway nor a DHCP server is heard of another node.
    assert!(own.iter().all(|frame| !frame.contains(&to)), "{own:#?}");
    let kept_off = ["10.9.0.1 ", "BOOTP/DHCP, Reply"];
    let heard: Vec<_> = frames
        .iter()
        .filter(|frame| kept_off.iter().any(|what| frame.contains(what)))
        .collect();
    assert!(heard.is_empty(), "{heard:#?}");

    for (tenant, guests) in [(left, vec![&one, &two]), (right, vec![&other])] {
        for guest in guests {
            guest.delete().await.unwrap();
            guest.gone().await.unwrap();
        }
        tenant.close().await.unwrap();
    }
    for node in cluster.nodes() {
        let links = "ip netns list; ip -o link show type vlan";
        wait_for("no link of ours to be left", GENEROUS, || async {
            let seen = node.sh(links).await.map_err(|e| e.to_string())?;
            if seen.contains("kn-") || seen.contains("eth1.") || seen.contains("up0") {
                Err(seen)
            } else {
                Ok(())
            }
        })
        .await
        .unwrap();
    }
}
