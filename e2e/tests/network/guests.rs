//! What guests are asked to do.

use std::collections::{BTreeMap, BTreeSet};

use kilonova_e2e::{
    cloud::{InstanceHandle, Tenant},
    lab::Machine,
    wait::{GENEROUS, wait_for},
};
use serde_json::{Value, json};

/// Creates an Instance on a node, with one interface.
pub async fn create<'a>(
    tenant: &Tenant<'a>,
    node: &str,
    name: &str,
    interface: Value,
) -> InstanceHandle<'a> {
    let mut eth0 = json!({"name": "eth0", "network": "blue"});
    if let (Value::Object(eth0), Value::Object(more)) = (&mut eth0, interface) {
        eth0.extend(more);
    }
    let spec = json!({
        "interfaces": [eth0], "nodeSelector": {"kubernetes.io/hostname": node},
        "terminationGracePeriodSeconds": 5,
    });
    tenant.create(name, spec).await.unwrap()
}

/// With exactly this address.
pub fn at(ip: &str) -> Value {
    json!({"ips": [ip]})
}

/// Its MAC, as it was allocated.
pub async fn mac(guest: &InstanceHandle<'_>) -> String {
    guest.status().await.unwrap().interfaces[0].mac.clone()
}

/// Waits until its DHCP client has set up everything, and gives what a script says then.
pub async fn configured(guest: &InstanceHandle<'_>, script: &str) -> String {
    let wait = "until [ -e /run/network-up ]; do usleep 100000; done";
    guest.sh(&format!("{wait}; {script}")).await.unwrap()
}

/// What DHCP tells a guest that asks once more and calls itself otherwise, by the names that udhcpc gives.
pub async fn told_by_dhcp(guest: &InstanceHandle<'_>) -> BTreeMap<String, String> {
    let script = r"printf '#!/bin/sh\n[ $1 != bound ] || env\n' > /tmp/spy; chmod 755 /tmp/spy
        udhcpc -f -q -n -t 10 -T 3 -i eth0 -s /tmp/spy -O mtu -O staticroutes -x hostname:liar 2>/tmp/spy.log ||
        { cat /tmp/spy.log >&2; exit 1; }";
    let said = guest.sh(script).await.unwrap();
    let pairs = said.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Whether it gets an echo from an address, some patience given.
pub async fn pings(guest: &InstanceHandle<'_>, address: &str) -> bool {
    let script = format!("ping -q -c 5 -i 0.5 -W 3 {address} > /dev/null && echo yes || echo no");
    guest.sh(&script).await.unwrap() == "yes"
}

/// What each of these servers (`ADDRESS:PORT`) says to it, those that it reaches, all asked at once.
pub async fn answers(guest: &InstanceHandle<'_>, servers: &[String]) -> BTreeMap<String, String> {
    // Loaded as the machine may be, who can be reached answers within this time.
    let script = format!(
        "for s in {}; do (r=$(nc -w 15 ${{s%:*}} ${{s#*:}} </dev/null 2>/dev/null) && echo $s=$r) & done; wait",
        servers.join(" ")
    );
    let said = guest.sh(&script).await.unwrap();
    let pairs = said.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// The DHCP servers of a Segment, by their process ids in the lab.
pub async fn dhcp_servers(node: &Machine, netns: &str) -> Vec<String> {
    let script = format!("pgrep -f -- '^dnsmasq .*/{netns}/' || true");
    let said = node.sh(&script).await.unwrap();
    said.lines().map(str::to_owned).collect()
}

/// Waits until a Segment has one DHCP server, and another than it had.
pub async fn another_dhcp_server(node: &Machine, netns: &str, before: &[String]) {
    wait_for("another DHCP server", GENEROUS, || async {
        let now = dhcp_servers(node, netns).await;
        if now.len() == 1 && now != before {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await
    .unwrap();
}

/// What is no longer there, or is new, a line each.
pub fn difference(before: &BTreeSet<String>, after: &BTreeSet<String>) -> String {
    let gone = before.difference(after).map(|line| format!("- {line}"));
    let new = after.difference(before).map(|line| format!("+ {line}"));
    gone.chain(new).collect::<Vec<_>>().join("\n")
}
