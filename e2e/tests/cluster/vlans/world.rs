//! Two tenants whose Networks have the same subnet, each in a VLAN of its own.
//!
//! `left` has a guest on each node, `right` one on the second. The guests of `left` have a second interface, in a
//! Network for smaller packets.

use kilonova_crds::{
    names,
    v1alpha1::{Hypervisor, Network},
};
use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle, Tenant},
    cluster::{Cluster, ClusterNode},
    wait::{GENEROUS, wait_for},
};
use kube::Api;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The trunk is the nodes' `eth1`.
pub const SETTING: &str = "agents.groups.default.physicalNetworks.physnet1=eth1";
/// The class of most Networks here.
pub const CLASS: &str = "trunk";
/// A class for packets of [`NARROW_MTU`].
const NARROW_CLASS: &str = "narrow";
/// Largest packet of the Network `narrow`, in bytes.
pub const NARROW_MTU: u32 = 1400;
/// The subnet of both Networks `wire`.
const SUBNET: &str = "10.9.0.0/24";
/// The gateway of the left one.
pub const GATEWAY: &str = "10.9.0.1";
/// The gateway of the right one.
pub const OTHER_GATEWAY: &str = "10.9.0.254";
/// Only the guest on the right has this address.
pub const ELSEWHERE: &str = "10.9.0.77";

/// What there is, as one test sees it.
pub struct World<'a> {
    /// The left tenant's guest on the first node.
    pub one: InstanceHandle<'a>,
    /// The left tenant's guest on the second node.
    pub two: InstanceHandle<'a>,
    /// The right tenant's guest, on the second node as well.
    pub other: InstanceHandle<'a>,
}

/// Makes all of it, once, and waits until every guest answers.
pub async fn world(cloud: &Cloud) -> World<'_> {
    static MADE: OnceCell<()> = OnceCell::const_new();
    trunk(cloud).await;
    MADE.get_or_init(|| make(cloud)).await;
    let world = World {
        one: cloud.instance("left", "one"),
        two: cloud.instance("left", "two"),
        other: cloud.instance("right", "other"),
    };
    for guest in [&world.one, &world.two, &world.other] {
        guest.ready("Running").await.unwrap();
        let connected = "until ip route | grep -q default; do usleep 100000; done";
        guest.sh(connected).await.unwrap();
    }
    world
}

/// Tells the agents of the trunk, unless they know.
pub async fn trunk(cloud: &Cloud) {
    let cluster = cloud.cluster().unwrap();
    let hypervisors: Api<Hypervisor> = Api::all(cloud.client());
    for node in nodes(cluster) {
        if !has_trunk(&hypervisors.get(node.name()).await.unwrap()) {
            cluster.install(&["--set", SETTING]).await.unwrap();
        }
        let what = "the trunk to be told of";
        cloud
            .hypervisor(node.name(), what, has_trunk)
            .await
            .unwrap();
    }
}

/// The nodes that the guests are on.
pub fn nodes(cluster: &Cluster) -> [&ClusterNode; 2] {
    [cluster.node(0), cluster.node(1)]
}

fn has_trunk(hypervisor: &Hypervisor) -> bool {
    let status = hypervisor.status.as_ref();
    status.is_some_and(|s| s.physical_networks.iter().any(|name| name == "physnet1"))
}

/// A class of VLANs on the trunk.
pub fn class(name: &str, ids: &str, mtu: u32) -> Value {
    json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "NetworkClass", "metadata": {"name": name},
        "spec": {"type": "vlan", "physicalNetwork": "physnet1", "ids": [ids], "mtu": mtu},
    })
}

/// An Instance of a node, with interfaces as given.
pub async fn on<'a>(
    tenant: &Tenant<'a>,
    node: &str,
    name: &str,
    interfaces: Value,
) -> InstanceHandle<'a> {
    let spec = json!({
        "nodeSelector": {"kubernetes.io/hostname": node}, "interfaces": interfaces,
        "terminationGracePeriodSeconds": 5,
    });
    tenant.create(name, spec).await.unwrap()
}

async fn make(cloud: &Cloud) {
    let [first, second] = nodes(cloud.cluster().unwrap());
    let left = cloud.tenant("left").await.unwrap();
    let right = cloud.tenant("right").await.unwrap();
    let wire =
        |gateway: &str| json!({"class": CLASS, "subnets": [{"cidr": SUBNET, "gateway": gateway}]});
    let narrow = json!({"class": NARROW_CLASS, "subnets": [{"cidr": "10.10.0.0/24"}]});
    let objects = [
        class(CLASS, "100-119", 1500),
        class(NARROW_CLASS, "200", NARROW_MTU),
        left.object("Network", "wire", &wire(GATEWAY)),
        left.object("Network", "narrow", &narrow),
        right.object("Network", "wire", &wire(OTHER_GATEWAY)),
    ];
    cloud.apply(&objects).await.unwrap();
    let both = json!([{"name": "eth0", "network": "wire"}, {"name": "eth1", "network": "narrow"}]);
    on(&left, first.name(), "one", both.clone()).await;
    on(&left, second.name(), "two", both).await;
    let elsewhere = json!([{"name": "eth0", "network": "wire", "ips": [ELSEWHERE]}]);
    on(&right, second.name(), "other", elsewhere).await;
}

/// The VLAN of a Network.
pub async fn vlan(cloud: &Cloud, namespace: &str, network: &str) -> u32 {
    let networks: Api<Network> = Api::namespaced(cloud.client(), namespace);
    wait_for("the Network to have a VLAN", GENEROUS, || async {
        let found = networks.get(network).await.map_err(|e| e.to_string())?;
        let status = found.status.clone();
        let segment = status.and_then(|s| s.segment).and_then(|s| s.id);
        segment.ok_or_else(|| format!("{:?}", found.status))
    })
    .await
    .unwrap()
}

/// The address of a guest's interface, counted from 0, and the netns of its Segment.
pub async fn interface(guest: &InstanceHandle<'_>, index: usize) -> (String, String) {
    let status = guest.status().await.unwrap();
    let interface = &status.interfaces[index];
    let netns = names::segment_netns(&interface.network_uid);
    (interface.ips[0].ip.clone(), netns)
}

/// How many of five pings of so many bytes of data come back to a guest.
pub async fn pings(guest: &InstanceHandle<'_>, address: &str, bytes: u32) -> u32 {
    let ping = format!("ping -q -c 5 -i 0.3 -W 5 -s {bytes} {address} | grep received");
    let said = guest.ssh(&ping).await.unwrap().stdout;
    let received = said.split(", ").find_map(|part| {
        let count = part.strip_suffix(" packets received")?;
        count.parse().ok()
    });
    received.unwrap_or_else(|| panic!("ping {address}: {said:?}"))
}

/// Whether a guest that asks for an address is given its own.
pub async fn asks_for_its_address(guest: &InstanceHandle<'_>) -> bool {
    let script = r"printf '#!/bin/sh\n[ $1 != bound ] || echo $ip\n' > /tmp/spy; chmod 755 /tmp/spy
        udhcpc -f -q -n -t 10 -T 3 -i eth0 -s /tmp/spy 2> /dev/null || true";
    let given = guest.sh(script).await.unwrap();
    given.lines().last() == Some(guest.ip().await.unwrap().as_str())
}

/// Lists, a line each, the links, addresses and rules of the Segments here, and of the node for them, with how often
/// each rule is there; `index` lines say which link it is that bears a name.
const LIST: &str = r#"
look() { # NAME COMMAND...
  local name=$1
  shift
  "$@" ip -o -d link | awk -v netns="$name" '{
    name = $2; sub(/[@:].*/, "", name); mtu = master = vlan = "-"
    for (i = 3; i <= NF; i++) {
      if ($i == "mtu") mtu = $(i + 1)
      if ($i == "master") master = $(i + 1)
      if ($i == "id" && $(i - 1) == "802.1Q") vlan = $(i + 1)
    }
    print "link", netns, name, "mtu", mtu, "master", master, "vlan", vlan
    print "index", netns, name, $1
  }'
  "$@" ip -o -4 addr | awk -v netns="$name" '{print "address", netns, $2, $4}'
  "$@" ip route | sed "s/^/route $name /"
}
rules() { # NAME: of what nft says
  sed -E 's/packets [0-9]+ bytes [0-9]+//; /^\s*$/d' | sort | uniq -c | sed "s/^/rule $1 /"
}
for netns in $(ip netns list | grep -o '^kn-[^ ]*'); do
  look "$netns" ip netns exec "$netns"
  ip netns exec "$netns" nft list ruleset | rules "$netns"
done
look node | grep -E '^[a-z]+ node (eth1|kx)'
for chain in 'table inet kilonova' 'chain ip filter FORWARD'; do nft list $chain | rules node; done
"#;

/// What a node has because of its Segments.
pub async fn links_and_rules(node: &ClusterNode) -> Vec<String> {
    let listed = node.sh(LIST).await.unwrap();
    let mut lines: Vec<_> = listed.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The agent's process on a node, and the DHCP servers of a Segment.
pub async fn servers(node: &ClusterNode, netns: &str) -> (String, Vec<String>) {
    let script =
        format!("pgrep -x kilonova-agent || echo none; pgrep -f -- '^dnsmasq .*/{netns}/' || true");
    let said = node.sh(&script).await.unwrap();
    let mut lines = said.lines().map(str::to_owned);
    (lines.next().unwrap_or_default(), lines.collect())
}

/// Waits until the agent of a node is another than it was, and serves a Segment again.
pub async fn another_agent(node: &ClusterNode, netns: &str, before: &(String, Vec<String>)) {
    wait_for("another agent that serves", GENEROUS, || async {
        let now = servers(node, netns).await;
        if now.0 != "none" && now.0 != before.0 && now.1.len() == 1 && now.1 != before.1 {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await
    .unwrap();
}

/// Fails unless each of a guest's requests was answered, once.
pub fn nothing_lost(answers: &[u64], what: &str) {
    let all: Vec<_> = (0..).take(answers.len()).collect();
    assert_eq!(answers, all, "{what}");
}
