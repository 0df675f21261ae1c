//! What DHCP tells: exactly what was allocated; and an address that goes from one to the next.

use kilonova_crds::{ConditionStatus, condition};
use kilonova_e2e::cloud::{InstanceHandle, summary};
use serde_json::json;

use crate::{
    guests::{at, configured, create, dhcp_servers, mac, pings, told_by_dhcp},
    together,
};

const FIXED_IP: &str = "10.7.0.77";
const FIXED_MAC: &str = "fa:16:3e:0a:0b:0c";

#[tokio::test]
async fn b37_dhcp_gives_exactly_what_was_allocated_and_a_fixed_address_and_mac_are_kept() {
    let (_guard, cloud) = together().await;
    let shop = cloud.tenant("b37").await.unwrap();
    let spec = json!({"class": "narrow", "subnets": [{
        "cidr": "10.7.0.0/24", "gateway": "10.7.0.254", "dns": ["192.0.2.53", "192.0.2.54"],
        "ranges": ["10.7.0.30-10.7.0.40"],
        "routes": [{"destination": "198.18.0.0/15", "nextHop": "10.7.0.9"}],
    }]});
    cloud
        .apply(&[shop.object("Network", "narrow", &spec)])
        .await
        .unwrap();
    let wanted = json!({"network": "narrow", "ips": [FIXED_IP], "mac": FIXED_MAC});
    let fixed = create(&shop, "node-1", "fixed", wanted).await;
    let chosen = create(&shop, "node-1", "chosen", json!({"network": "narrow"})).await;
    fixed.ready("Running").await.unwrap();
    chosen.ready("Running").await.unwrap();
    assert_eq!(fixed.ip().await.unwrap(), FIXED_IP);
    assert_eq!(mac(&fixed).await, FIXED_MAC);
    let ip = chosen.ip().await.unwrap();
    assert!(ip.starts_with("10.7.0.3") || ip == "10.7.0.40", "{ip}");
    assert_ne!(mac(&chosen).await, FIXED_MAC);
    for guest in [&fixed, &chosen] {
        is_as_allocated(guest).await;
    }
    assert!(pings(&fixed, &ip).await, "its neighbour");
    assert!(pings(&chosen, "10.7.0.254").await, "its gateway");
    // As large as the MTU lets a packet be: 20 bytes of IP, 8 of ICMP.
    assert!(pings(&chosen, &format!("-s 1372 {FIXED_IP}")).await);
    shop.close().await.unwrap();
}

/// What it is told, and what its network looks like by it.
async fn is_as_allocated(guest: &InstanceHandle<'_>) {
    let (ip, mac) = (guest.ip().await.unwrap(), mac(guest).await);
    let told = told_by_dhcp(guest).await;
    let expected = [
        ("ip", ip.as_str()),
        ("subnet", "255.255.255.0"),
        ("router", "10.7.0.254"),
        ("dns", "192.0.2.53 192.0.2.54"),
        ("hostname", guest.name()),
        ("mtu", "1400"),
        ("serverid", "10.7.0.254"),
        (
            "staticroutes",
            "198.18.0.0/15 10.7.0.9 0.0.0.0/0 10.7.0.254",
        ),
    ];
    for (key, value) in expected {
        assert_eq!(told.get(key).map(String::as_str), Some(value), "{told:?}");
    }
    let links = configured(
        guest,
        "cd /sys/class/net; echo e*; cat eth0/address eth0/mtu",
    )
    .await;
    assert_eq!(links, format!("eth0\n{mac}\n1400"));
    let addresses = "ip -o -4 addr show dev eth0 | awk '{print $4}'";
    assert_eq!(guest.sh(addresses).await.unwrap(), format!("{ip}/24"));
    let servers = guest.sh("cat /etc/resolv.conf").await.unwrap();
    assert_eq!(servers, "nameserver 192.0.2.53\nnameserver 192.0.2.54");
    let routes = "ip route | sed 's/ metric [0-9]*//; s/ *$//' | sort";
    let expected = format!(
        "10.7.0.0/24 dev eth0 scope link  src {ip}\n198.18.0.0/15 via 10.7.0.9 dev eth0\ndefault via 10.7.0.254 dev eth0"
    );
    assert_eq!(guest.sh(routes).await.unwrap(), expected);
    assert_eq!(guest.sh("hostname").await.unwrap(), guest.name());
}

#[tokio::test]
async fn b37_b43_who_asks_for_a_held_address_waits_for_its_holder_and_is_served_at_once_after_it() {
    let (_guard, cloud) = together().await;
    let shop = cloud.tenant("b43").await.unwrap();
    let first = create(&shop, "node-1", "first", at("10.0.0.77")).await;
    // It keeps the Segment, and so the server that gave the first its lease.
    let stays = create(&shop, "node-1", "stays", at("10.0.0.31")).await;
    assert_eq!(first.sh("hostname").await.unwrap(), "first");
    let second = create(&shop, "node-1", "second", at("10.0.0.77")).await;
    let waits = second
        .until("it to say who holds its address", |instance| {
            let status = instance.status.as_ref();
            let scheduled = status.and_then(|s| condition::find(&s.conditions, "Scheduled"));
            scheduled.is_some_and(|c| {
                c.status == ConditionStatus::False
                    && c.message.contains("10.0.0.77")
                    && c.message.contains("b43/first")
            })
        })
        .await
        .unwrap();
    assert_eq!(
        waits.status.clone().unwrap().node_name,
        None,
        "{}",
        summary(&waits)
    );
    assert_eq!(told_by_dhcp(&first).await["ip"], "10.0.0.77");
    let netns = first.netns().await.unwrap();
    let before = mac(&first).await;
    let node = cloud.lab().node(0);
    let leases = format!("grep ' 10.0.0.77 ' /run/kilonova/segments/{netns}/leases");
    assert!(node.sh(&leases).await.unwrap().contains(&before));
    let server = dhcp_servers(node, &netns).await;

    first.delete().await.unwrap();
    first.gone().await.unwrap();
    second.ready("Running").await.unwrap();
    assert_eq!(second.sh("hostname").await.unwrap(), "second");
    let after = mac(&second).await;
    assert_ne!(before, after);
    let told = told_by_dhcp(&second).await;
    assert_eq!(
        (told["ip"].as_str(), told["hostname"].as_str()),
        ("10.0.0.77", "second")
    );
    let leases = node.sh(&leases).await.unwrap();
    assert!(
        leases.contains(&after) && !leases.contains(&before),
        "{leases}"
    );
    assert_eq!(dhcp_servers(node, &netns).await, server);
    assert!(pings(&stays, "10.0.0.77").await);
    let seen = stays.sh("ip neigh show 10.0.0.77").await.unwrap();
    assert!(seen.contains(&after), "{seen}");
    shop.close().await.unwrap();
}
