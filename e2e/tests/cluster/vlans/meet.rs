//! Who meets whom: instances of one Network on two nodes, and no others.

use kilonova_e2e::{
    cloud::InstanceHandle,
    wait::{GENEROUS, wait_for},
};

use super::world::{ELSEWHERE, GATEWAY, OTHER_GATEWAY, asks_for_its_address, pings, vlan, world};
use crate::cloud;

const MIB: u64 = 1 << 20;
/// Echo requests' usual size, in bytes of data.
const SMALL: u32 = 56;

#[tokio::test]
async fn b38_instances_of_a_network_meet_between_nodes_in_their_vlan_and_no_others() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let world = world(&cloud).await;
    let ids = [
        vlan(&cloud, "left", "wire").await,
        vlan(&cloud, "right", "wire").await,
    ];
    assert_ne!(ids[0], ids[1]);
    let capture = cluster.capture("vlans").await.unwrap();
    let (one, two) = (&world.one, &world.two);
    let (from, to) = (one.ip().await.unwrap(), two.ip().await.unwrap());
    assert_eq!(pings(one, &to, SMALL).await, 5);
    assert_eq!(pings(two, &from, SMALL).await, 5);
    assert_eq!(pings(one, ELSEWHERE, SMALL).await, 0);
    assert_eq!(pings(two, ELSEWHERE, SMALL).await, 0);
    for guest in [one, two, &world.other] {
        assert!(asks_for_its_address(guest).await, "{}", guest.name());
    }
    carries(one, two, 50).await;

    let frames = capture.frames("").await.unwrap();
    let of_vlan = |id: u32| {
        let tag = format!("vlan {id},");
        frames.iter().filter(move |frame| frame.contains(&tag))
    };
    assert!(of_vlan(ids[0]).any(|frame| frame.contains(&format!("{from} > {to}"))));
    // What the second Network has there is its own.
    let crossed: Vec<_> = of_vlan(ids[1])
        .filter(|frame| frame.contains(&to) || frame.contains(&from))
        .collect();
    assert!(crossed.is_empty(), "{crossed:#?}");
    let tags = ids.map(|id| format!("vlan {id},"));
    let strays: Vec<_> = frames
        .iter()
        .filter(|frame| !tags.iter().any(|tag| frame.contains(tag)))
        .collect();
    assert!(strays.is_empty(), "{strays:#?}");
    // Neither a gateway nor a DHCP server is heard of another node.
    let kept_off = [
        format!("{GATEWAY} "),
        format!("{OTHER_GATEWAY} "),
        "BOOTP/DHCP, Reply".to_owned(),
    ];
    let heard: Vec<_> = frames
        .iter()
        .filter(|frame| kept_off.iter().any(|what| frame.contains(what)))
        .collect();
    assert!(heard.is_empty(), "{heard:#?}");
}

/// Waits until so many MiB have come from one guest to another: whole packets, for long enough to meet every limit on
/// the way.
async fn carries(one: &InstanceHandle<'_>, two: &InstanceHandle<'_>, mib: u64) {
    let to = two.ip().await.unwrap();
    // Of busybox's nc, each half ends with its input; the port is in hexadecimal there.
    let receive = "rm -f ~/count; (sleep 1000 | nc -l -p 5000 | wc -c > ~/count) > /dev/null 2>&1 &
        until grep -qs ':1388 ' /proc/net/tcp /proc/net/tcp6; do usleep 100000; done";
    two.sh(receive).await.unwrap();
    let send = format!("dd if=/dev/zero bs=1M count={mib} | nc {to} 5000");
    one.sh(&format!("({send}) > /dev/null 2>&1 &"))
        .await
        .unwrap();
    let all = (mib * MIB).to_string();
    wait_for("all of it to be there", GENEROUS, || async {
        let count = two.sh("cat ~/count").await.map_err(|e| e.to_string())?;
        if count.trim() == all {
            Ok(())
        } else {
            Err(count)
        }
    })
    .await
    .unwrap();
}
