//! Frames of full size: what a Network's MTU says is so from guest to guest.

use kilonova_crds::{
    names,
    node::Segment,
    v1alpha1::{Hypervisor, Instance},
};
use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle},
    wait::{GENEROUS, wait_for},
};
use kube::{Api, api::ListParams};
use serde_json::json;

use super::world::{CLASS, NARROW_MTU, World, class, interface, nodes, on, pings, vlan, world};
use crate::cloud;

/// The NICs' MTU, and that of the class.
const MTU: u32 = 1500;
/// What is before a ping's data in a packet: the headers of IPv4 and ICMP.
const HEADERS: u32 = 28;
/// What is before a packet on the wire: Ethernet's header with the VLAN's tag, which no MTU counts.
const TAGGED: u32 = 18;

#[tokio::test]
async fn b45_packets_as_large_as_the_mtu_pass_whole_between_nodes() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let world = world(&cloud).await;
    for (index, network, mtu) in [(0, "wire", MTU), (1, "narrow", NARROW_MTU)] {
        let id = vlan(&cloud, "left", network).await;
        links_agree(&world, index, mtu).await;
        let (to, _) = interface(&world.two, index).await;
        let largest = mtu - HEADERS;

        let capture = cluster.capture(&format!("{network}-whole")).await.unwrap();
        assert_eq!(pings(&world.one, &to, largest).await, 5);
        let echoes = capture
            .frames(&format!("vlan {id} and icmp"))
            .await
            .unwrap();
        let length = format!("length {}:", mtu + TAGGED);
        assert_eq!(echoes.len(), 10, "requests and answers: {echoes:#?}");
        assert!(
            echoes.iter().all(|echo| echo.contains(&length)),
            "{echoes:#?}"
        );

        // One byte more, and it is in two pieces: the guests know.
        let capture = cluster.capture(&format!("{network}-more")).await.unwrap();
        assert_eq!(pings(&world.one, &to, largest + 1).await, 5);
        let pieces = format!("vlan {id} and ip[6:2] & 0x3fff != 0");
        let pieces = capture.frames(&pieces).await.unwrap();
        assert_eq!(pieces.len(), 20, "{pieces:#?}");
        let raise = format!("ip link set eth{index} mtu {} 2>&1 || true", mtu + 1);
        let said = world.one.sh(&raise).await.unwrap();
        assert!(!said.is_empty(), "no guest gives itself more");
    }
}

/// The guest's card, its tap, the bridge, the uplink: all have the Network's MTU, on both nodes.
async fn links_agree(world: &World<'_>, index: usize, mtu: u32) {
    for guest in [&world.one, &world.two] {
        let inside = format!("cat /sys/class/net/eth{index}/mtu");
        assert_eq!(guest.sh(&inside).await.unwrap(), mtu.to_string());
        let (address, netns) = interface(guest, index).await;
        let node = guest.machine().await.unwrap();
        let links = format!("ip -n {netns} -o link | grep -E '^[0-9]+: (br0|up0|out0|kt)'");
        let links = node.sh(&links).await.unwrap();
        let wanted = format!(" mtu {mtu} ");
        assert!(links.lines().count() >= 4, "{links}");
        assert!(links.lines().all(|link| link.contains(&wanted)), "{links}");
        // And what may not be taken apart passes to the guest, up to that.
        for (bytes, passes) in [(mtu - HEADERS, true), (mtu - HEADERS + 1, false)] {
            let ping = format!(
                "ip netns exec {netns} ping -q -M do -s {bytes} -c 1 -W 5 {address} > /dev/null 2>&1 && echo yes || echo no"
            );
            let passed = node.sh(&ping).await.unwrap();
            assert_eq!(passed.trim() == "yes", passes, "{bytes} bytes of data");
        }
    }
}

#[tokio::test]
async fn a_nic_that_carries_less_than_a_network_needs_takes_no_instance_of_it_and_says_so() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let world = world(&cloud).await;
    let [_, node] = nodes(cluster);
    let carries = |mtu: u32| {
        move |hypervisor: &Hypervisor| {
            let status = hypervisor.status.as_ref();
            status.is_some_and(|s| s.nics.iter().any(|nic| nic.mtu == mtu))
        }
    };
    let shop = cloud.tenant("jumbo").await.unwrap();
    let subnet = json!({"cidr": "10.11.0.0/24"});
    let network = json!({"class": "jumbo", "subnets": [subnet]});
    let narrower = json!({"class": CLASS, "subnets": [subnet]});
    let objects = [
        class("jumbo", "210", 9000),
        shop.object("Network", "jumbo", &network),
        shop.object("Network", "wire", &narrower),
    ];
    cloud.apply(&objects).await.unwrap();
    let one = json!([{"name": "eth0", "network": "jumbo"}]);
    let jumbo = on(&shop, node.name(), "jumbo", one).await;
    too_small(&jumbo).await;

    node.sh(&format!("ip link set dev eth1 mtu {NARROW_MTU}"))
        .await
        .unwrap();
    let what = "the NIC's smaller MTU";
    cloud
        .hypervisor(node.name(), what, carries(NARROW_MTU))
        .await
        .unwrap();
    let one = json!([{"name": "eth0", "network": "wire"}]);
    let waits = on(&shop, node.name(), "waits", one).await;
    too_small(&waits).await;
    let said =
        format!("NIC eth1 carries packets of {NARROW_MTU} bytes, and the network's MTU is {MTU}");
    wait_for("the Segment to say so", GENEROUS, || async {
        let status = segment_says(&cloud, node.name()).await;
        if status.contains(&said) {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await
    .unwrap();
    let (to, _) = interface(&world.two, 1).await;
    assert_eq!(
        pings(&world.one, &to, NARROW_MTU - HEADERS).await,
        5,
        "the other is as it was"
    );

    node.sh(&format!("ip link set dev eth1 mtu {MTU}"))
        .await
        .unwrap();
    let bound = |instance: &Instance| {
        instance
            .status
            .as_ref()
            .is_some_and(|s| s.node_name.is_some())
    };
    waits.until("to be bound", bound).await.unwrap();
    let to = world.two.ip().await.unwrap();
    wait_for("whole packets to pass again", GENEROUS, || async {
        match pings(&world.one, &to, MTU - HEADERS).await {
            5 => Ok(()),
            fewer => Err(format!("{fewer} of 5")),
        }
    })
    .await
    .unwrap();
    links_agree(&world, 0, MTU).await;
    wait_for("the Segment to be whole", GENEROUS, || async {
        let status = segment_says(&cloud, node.name()).await;
        if status.contains(&said) {
            Err(status)
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    shop.close().await.unwrap();
    cloud.settled().await.unwrap();
}

async fn too_small(instance: &InstanceHandle<'_>) {
    instance
        .until("to wait for a NIC that carries enough", |instance| {
            let status = instance.status.as_ref();
            let mut conditions = status.into_iter().flat_map(|s| &s.conditions);
            conditions.any(|c| c.message.contains("1 MTU of the NIC too small"))
        })
        .await
        .unwrap();
}

/// What is wrong with the Segment of the left tenant's `wire` on a node.
async fn segment_says(cloud: &Cloud, node: &str) -> String {
    let api: Api<Segment> = Api::namespaced(cloud.client(), &names::node_namespace(node));
    let all = api.list(&ListParams::default()).await.unwrap();
    let mut own = all.into_iter().filter(|segment| {
        let network = &segment.spec.network;
        network.namespace == "left" && network.name == "wire"
    });
    let status = own.next().and_then(|segment| segment.status);
    let conditions = status.map(|s| s.conditions).unwrap_or_default();
    conditions.into_iter().map(|c| c.message).collect()
}
