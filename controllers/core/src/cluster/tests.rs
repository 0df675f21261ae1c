#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod late;
mod laws;

use super::*;
use crate::binding::{Binding, Inputs};
use crate::compile::domain_spec;
use crate::testing::{Objects, hypervisor, instance, labelled, network, node, parse};
use crate::wait::Wait;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::node::{Disposition, Domain, DomainStatus, Outcome};
use kilonova_crds::v1alpha1::InstanceStatus;
use serde_json::{Value, json};

const GIB: u64 = 1 << 30;

/// A cluster with hypervisors of 4 vcpus, 4 GiB and 100 GiB each, and the objects' networks.
fn cluster(names: &[&str], objects: &Objects) -> Cluster {
    let mut cluster = Cluster::new(Settings::default());
    for name in names {
        let node = node(name, &json!({}), &json!([]));
        cluster.observe_hypervisor(&hypervisor(name, 4, 4, 100), Some(&node), true);
    }
    for network in &objects.networks {
        cluster.observe_network(network);
    }
    cluster
}

fn with_interface(name: &str, interface: Value) -> Instance {
    let mut eth0 = json!({"name": "eth0", "network": "blue"});
    let Value::Object(more) = interface else {
        panic!("an interface is an object");
    };
    eth0.as_object_mut().unwrap().extend(more);
    instance(name, json!({"interfaces": [eth0]}))
}

/// The Instance as it is once its binding is written.
fn bound(instance: &Instance, binding: &Binding) -> Instance {
    let mut instance = instance.clone();
    let previous = instance.status.take().unwrap_or_default();
    instance.status = Some(binding.to_status(&previous));
    instance
}

fn domain(instance: &Instance, disposition: Disposition, outcome: Option<Outcome>) -> Domain {
    let mut spec = domain_spec(instance, "ns").unwrap();
    spec.disposition = disposition;
    let mut domain = Domain::new("d", spec);
    domain.metadata.generation = Some(1);
    domain.status = Some(DomainStatus {
        observed_generation: 1,
        outcome,
        ..DomainStatus::default()
    });
    domain
}

#[test]
fn a_binding_says_all_that_was_decided() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let web = with_interface("web", json!({}));
    let binding = cluster.bind(&objects.inputs(&web)).unwrap();
    assert_eq!(binding.uuid, "uid-web");
    assert_eq!(binding.node, "n1");
    assert_eq!(binding.claim.memory, "1Gi".into());
    assert_eq!(binding.image.virtual_size, "1Gi".into());
    let interface = &binding.interfaces[0];
    assert!(interface.mac.starts_with("fa:16:3e:"));
    assert_eq!(interface.network_uid, "net-blue");
    assert_eq!(interface.ips[0].ip, "10.0.0.2");
    assert_eq!(interface.ips[0].gateway.as_deref(), Some("10.0.0.1"));
    let status = binding.to_status(&InstanceStatus::default());
    assert_eq!(status.addresses.as_deref(), Some("10.0.0.2"));
    assert_eq!(Binding::of(&status), Some(binding));
}

#[test]
fn the_uuid_of_a_binding_that_was_taken_back_stays() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let mut web = instance("web", json!({}));
    web.status = Some(InstanceStatus {
        uuid: Some("adopted".into()),
        ..InstanceStatus::default()
    });
    let binding = cluster.bind(&objects.inputs(&web)).unwrap();
    assert_eq!(binding.uuid, "adopted");
}

#[test]
fn two_that_ask_for_one_address_one_gets_it_and_the_other_says_who_has_it() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let fixed = |name| with_interface(name, json!({"ips": ["10.0.0.5"]}));
    let (first, second) = (fixed("web-1"), fixed("web-2"));
    cluster.bind(&objects.inputs(&first)).unwrap();
    let before = cluster.used("n1");
    let wait = cluster.bind(&objects.inputs(&second)).unwrap_err();
    assert_eq!(
        wait.to_string(),
        "address 10.0.0.5 of Network \"blue\" is held by instance shop/web-1"
    );
    assert_eq!(cluster.used("n1"), before);
    let freed = cluster.undo("uid-web-1");
    assert!(wait.keys("shop").iter().any(|key| freed.contains(key)));
    cluster.bind(&objects.inputs(&second)).unwrap();
}

#[test]
fn a_fixed_mac_is_one_instances_in_its_network() {
    let mut objects = Objects::new();
    objects.networks.push(network("red", "10.0.0.0/24"));
    let mut cluster = cluster(&["n1"], &objects);
    let mac = json!({"mac": "02:00:00:00:00:01"});
    let (first, second) = (with_interface("a", mac.clone()), with_interface("b", mac));
    cluster.bind(&objects.inputs(&first)).unwrap();
    let wait = cluster.bind(&objects.inputs(&second)).unwrap_err();
    assert_eq!(wait.reason(), "MacTaken");
    let red =
        json!({"interfaces": [{"name": "eth0", "network": "red", "mac": "02:00:00:00:00:01"}]});
    cluster.bind(&objects.inputs(&instance("c", red))).unwrap();
    let gateway = json!({"mac": crate::macs::gateway_mac("net-blue")});
    let wait = cluster.bind(&objects.inputs(&with_interface("d", gateway)));
    assert_eq!(wait.unwrap_err().reason(), "AddressOutside");
}

#[test]
fn two_interfaces_in_one_network_get_two_addresses() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let two = |ips: Value| {
        let mut second = json!({"name": "eth1", "network": "blue"});
        second
            .as_object_mut()
            .unwrap()
            .extend(ips.as_object().unwrap().clone());
        instance(
            "web",
            json!({"interfaces": [
                {"name": "eth0", "network": "blue", "ips": ["10.0.0.9"]}, second,
            ]}),
        )
    };
    let binding = cluster.bind(&objects.inputs(&two(json!({})))).unwrap();
    let status = binding.to_status(&InstanceStatus::default());
    assert_eq!(status.addresses.as_deref(), Some("10.0.0.9,10.0.0.2"));
    assert_ne!(binding.interfaces[0].mac, binding.interfaces[1].mac);
    let same = two(json!({"ips": ["10.0.0.9"]}));
    let wait = cluster.bind(&objects.inputs(&same)).unwrap_err();
    assert!(wait.stalled(), "{wait}");
}

#[test]
fn what_is_missing_has_its_reason_and_key() {
    let objects = Objects::new();
    let mut world = cluster(&["n1"], &objects);
    let web = with_interface("web", json!({}));
    let full = || objects.inputs(&web);
    let key = ObjectKey::new("shop", "debian");
    let cases = [
        (
            Inputs {
                flavor: None,
                ..full()
            },
            "FlavorMissing",
            WaitKey::Flavor("small".into()),
        ),
        (
            Inputs {
                image: None,
                ..full()
            },
            "ImageMissing",
            WaitKey::Image(key.clone()),
        ),
        (
            Inputs {
                networks: BTreeMap::new(),
                ..full()
            },
            "NetworkMissing",
            WaitKey::Network(ObjectKey::new("shop", "blue")),
        ),
    ];
    for (inputs, reason, key) in cases {
        let wait = world.bind(&inputs).unwrap_err();
        assert_eq!((wait.reason(), wait.keys("shop")), (reason, vec![key]));
    }
    let mut unread = Objects::new();
    unread.image.status = None;
    let wait = world.bind(&unread.inputs(&web)).unwrap_err();
    assert_eq!(
        (wait.reason(), wait.keys("shop")),
        ("ImageNotReady", vec![WaitKey::Image(key)])
    );
    let mut large = Objects::new();
    large.image.status.as_mut().unwrap().virtual_size = Some("11Gi".into());
    let wait = world.bind(&large.inputs(&web)).unwrap_err();
    assert!(wait.stalled());
    assert_eq!(
        wait.to_string(),
        "Flavor \"small\" is too small for the image: disk 10Gi, needed 11Gi"
    );
    let keyless = instance("web", json!({"keyPairs": ["ops"]}));
    let wait = world.bind(&objects.inputs(&keyless)).unwrap_err();
    assert_eq!(
        wait.keys("shop"),
        [WaitKey::KeyPair(ObjectKey::new("shop", "ops"))]
    );
}

#[test]
fn n_plus_one_apart_on_n_hosts_leaves_one_that_waits_for_the_others() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1", "n2"], &objects);
    let term = json!([{"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}]);
    let spec = json!({"affinity": {"instanceAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
    let member = |name| labelled(instance(name, spec.clone()), json!({"app": "web"}));
    let mut nodes = BTreeSet::new();
    for name in ["w1", "w2"] {
        let member = member(name);
        cluster.observe_instance(&member);
        nodes.insert(cluster.bind(&objects.inputs(&member)).unwrap().node);
    }
    assert_eq!(nodes.len(), 2);
    let third = member("w3");
    let wait = cluster.bind(&objects.inputs(&third)).unwrap_err();
    assert_eq!(
        wait.to_string(),
        "0/2 hypervisors: 2 instance anti-affinity"
    );
    let touched = cluster.undo("uid-w1");
    assert!(wait.keys("shop").iter().any(|key| touched.contains(key)));
    cluster.bind(&objects.inputs(&third)).unwrap();
}

#[test]
fn what_a_binding_helps_is_told_by_the_next_call() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let db = labelled(instance("db", json!({})), json!({"app": "db"}));
    cluster.observe_instance(&db);
    let binding = cluster.bind(&objects.inputs(&db)).unwrap();
    let touched = cluster.observe_instance(&bound(&db, &binding));
    assert!(touched.contains(&WaitKey::Placements("shop".into())));
}

#[test]
fn capacity_that_comes_wakes_and_what_stays_does_not() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let node = node("n1", &json!({}), &json!([]));
    let mut observe =
        |memory, node| cluster.observe_hypervisor(&hypervisor("n1", 4, memory, 100), node, true);
    assert_eq!(observe(4, Some(&node)), []);
    assert_eq!(observe(8, Some(&node)), [WaitKey::Capacity, WaitKey::Hosts]);
    assert_eq!(observe(2, Some(&node)), [WaitKey::Hosts]);
}
