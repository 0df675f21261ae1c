//! How many placement decisions a second: `cargo bench -p kilonova-controllers-core`.
//!
//! For 100, 1,000 and 10,000 hypervisors with ten instances each: a decision alone, and a whole
//! binding (place, claim, allocate an address and a MAC, give it back), plain, with anti-affinity
//! among ten thousand instances, and with node affinity.
#![allow(clippy::unwrap_used, reason = "a bench that cannot run may say so")]

use kilonova_controllers_core::binding::{ImageView, Inputs};
use kilonova_controllers_core::cluster::{Cluster, Settings};
use kilonova_crds::v1alpha1::{Flavor, Hypervisor, Image, Instance, Network};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const BOUND_EACH: usize = 10;
const LEAST: Duration = Duration::from_secs(1);

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn hypervisor(n: usize) -> (Hypervisor, k8s_openapi::api::core::v1::Node) {
    let name = format!("node-{n}");
    // Not all alike: what is free differs from host to host.
    let memory = 64 + n % 7;
    let hypervisor = parse(json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Hypervisor", "metadata": {"name": name},
        "spec": {},
        "status": {
            "capacity": {"vcpus": 32, "memory": format!("{memory}Gi"), "disk": "2Ti"},
            "architecture": "x86_64", "virtualizationTypes": ["kvm"],
        },
    }));
    let labels = json!({"kubernetes.io/hostname": name, "zone": format!("z{}", n % 3)});
    (
        hypervisor,
        parse(json!({"metadata": {"name": name, "labels": labels}})),
    )
}

fn instance(n: usize, node: Option<usize>, labels: &Value, affinity: &Value) -> Instance {
    let mut value = json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Instance",
        "metadata": {"name": format!("i{n}"), "namespace": "shop", "uid": format!("uid-{n}"), "labels": labels},
        "spec": {
            "flavor": "small", "image": {"kind": "Image", "name": "debian"}, "affinity": affinity,
            "interfaces": [{"name": "eth0", "network": "blue"}],
        },
    });
    if let Some(node) = node {
        let ip = format!("10.{}.{}.{}", 1 + n / 65536, n / 256 % 256, n % 256);
        value["status"] = json!({
            "uuid": format!("uid-{n}"), "nodeName": format!("node-{node}"),
            "claim": {"flavor": "small", "vcpus": 2, "memory": "4Gi", "disk": "20Gi"},
            "image": {"url": "u", "checksum": "c", "format": "raw", "virtualSize": "1Gi"},
            "interfaces": [{
                "name": "eth0", "network": "blue", "networkUid": "net", "mac": format!("02:00:00:{:02x}:{:02x}:{:02x}", n >> 16, n >> 8 & 255, n & 255),
                "ips": [{"ip": ip, "prefixLength": 8}], "segment": {"type": "local", "mtu": 1500},
            }],
        });
    }
    parse(value)
}

struct World {
    cluster: Cluster,
    flavor: Flavor,
    image: Image,
    network: Network,
}

fn world(hosts: usize) -> World {
    let network: Network = parse(json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Network",
        "metadata": {"name": "blue", "namespace": "shop", "uid": "net"},
        "spec": {"class": "c", "subnets": [{"cidr": "10.0.0.0/8"}]},
        "status": {"observedGeneration": 1, "segment": {"type": "local", "mtu": 1500}, "conditions": [
            {"type": "Ready", "status": "True", "reason": "X", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        ]},
    }));
    let image = parse(json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Image", "metadata": {"name": "debian"},
        "spec": {"source": {"http": {"url": "u", "checksum": "c"}}, "format": "raw"},
        "status": {"observedGeneration": 1, "virtualSize": "1Gi", "conditions": [
            {"type": "Ready", "status": "True", "reason": "X", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        ]},
    }));
    let flavor = parse(json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Flavor", "metadata": {"name": "small"},
        "spec": {"vcpus": 2, "memory": "4Gi", "disk": "20Gi"},
    }));
    let mut cluster = Cluster::new(Settings::default());
    cluster.observe_network(&network);
    for n in 0..hosts {
        let (hypervisor, node) = hypervisor(n);
        cluster.observe_hypervisor(&hypervisor, Some(&node), true);
    }
    for n in 0..hosts * BOUND_EACH {
        // Spread unevenly; one in ten is of a group.
        let node = n * 7919 % hosts;
        let labels = if n % 10 == 0 {
            json!({"app": "web"})
        } else {
            json!({})
        };
        cluster.observe_instance(&instance(n, Some(node), &labels, &json!({})));
    }
    World {
        cluster,
        flavor,
        image,
        network,
    }
}

/// Whole bindings a second.
fn rate(world: &mut World, labels: &Value, affinity: &Value) -> f64 {
    let new = instance(usize::MAX, None, labels, affinity);
    let uid = new.metadata.uid.clone().unwrap();
    let inputs = Inputs {
        instance: &new,
        flavor: Some(&world.flavor),
        image: Some(ImageView::from(&world.image)),
        networks: BTreeMap::from([("blue", &world.network)]),
        key_pairs: BTreeMap::new(),
        refused: BTreeSet::new(),
    };
    let started = Instant::now();
    let mut decisions = 0u32;
    while started.elapsed() < LEAST {
        for _ in 0..100 {
            world.cluster.bind(&inputs).unwrap();
            world.cluster.undo(&uid);
        }
        decisions += 100;
    }
    f64::from(decisions) / started.elapsed().as_secs_f64()
}

fn main() {
    let preferred = json!([{"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["z1"]}]}}]);
    let zone =
        json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}});
    let term = json!([{"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}]);
    let apart =
        json!({"instanceAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}});
    println!("hypervisors  instances  plain/s  node affinity/s  anti-affinity/s");
    for hosts in [100, 1_000, 10_000] {
        let mut world = world(hosts);
        let plain = rate(&mut world, &json!({}), &json!({}));
        let zone = rate(&mut world, &json!({}), &zone);
        let apart = rate(&mut world, &json!({"app": "web"}), &apart);
        let bound = hosts * BOUND_EACH;
        println!("{hosts:>11}  {bound:>9}  {plain:>7.0}  {zone:>15.0}  {apart:>15.0}");
    }
}
