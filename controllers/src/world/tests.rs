//! The world as changes make it, whatever their order.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use super::*;
use kilonova_controllers_core::images::Header;
use kilonova_controllers_core::lifecycle::Action;
use kilonova_crds::v1alpha1::ImageKind;
use serde_json::{Value, json};
use std::cell::Cell;
use std::sync::LazyLock;

const STALE: Duration = Duration::from_secs(40);

fn object<T: Cached>(namespace: &str, name: &str, version: u64, more: Value) -> T {
    let mut object = json!({
        "apiVersion": T::api_version(&()), "kind": T::kind(&()),
        "metadata": {
            "namespace": namespace, "name": name, "uid": format!("uid-{name}"), "generation": 1,
            "resourceVersion": version.to_string(), "creationTimestamp": "2026-01-01T00:00:00Z",
        },
    });
    let (object, Value::Object(more)) = (object.as_object_mut().unwrap(), more) else {
        panic!("no object");
    };
    for (key, value) in more {
        match (key.as_str(), value) {
            ("metadata", Value::Object(metadata)) => {
                object["metadata"].as_object_mut().unwrap().extend(metadata);
            }
            (_, value) => {
                object.insert(key, value);
            }
        }
    }
    serde_json::from_value(Value::Object(object.clone())).unwrap()
}

fn instance(version: u64) -> Instance {
    let spec = json!({
        "flavor": "small", "image": {"kind": "ClusterImage", "name": "disk"},
    });
    let metadata = json!({"finalizers": ["kilonova.dev/instance"]});
    object(
        "shop",
        "web",
        version,
        json!({"spec": spec, "metadata": metadata}),
    )
}

fn node_namespace() -> NamespaceMeta {
    let metadata = json!({
        "labels": {"kilonova.dev/node-namespace": ""},
        "annotations": {"kilonova.dev/node": "n", "kilonova.dev/cluster-id": "c"},
    });
    object("", "kilonova-node-n", 1, json!({"metadata": metadata}))
}

fn lease(version: u64) -> Lease {
    let spec = json!({"renewTime": format!("2026-01-01T00:00:{version:02}.000000Z")});
    object(
        "kilonova-node-n",
        "kilonova-agent",
        version,
        json!({"spec": spec}),
    )
}

fn hypervisor() -> Hypervisor {
    let capacity = json!({"vcpus": 4, "memory": "4Gi", "disk": "10Gi"});
    let status = json!({
        "capacity": capacity, "architecture": "x86_64", "virtualizationTypes": ["qemu"],
    });
    object("", "n", 1, json!({"spec": {}, "status": status}))
}

fn supply(world: &mut World) {
    let sizes = json!({"vcpus": 1, "memory": "1Gi", "disk": "1Gi"});
    let source = json!({"http": {"url": "http://x/y", "checksum": "sha256:00"}});
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "HeaderRead",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let status = json!({"virtualSize": "1Gi", "conditions": [ready]});
    let image = json!({"spec": {"source": source, "format": "raw"}, "status": status});
    world.seen(object::<Flavor>("", "small", 1, json!({"spec": sizes})));
    world.seen(object::<ClusterImage>("", "disk", 1, image));
    world.seen(object::<NamespaceMeta>("", "shop", 1, json!({})));
}

/// A node that is up, and an Instance that may go there.
fn stage(world: &mut World) {
    supply(world);
    world.seen(hypervisor());
    world.seen(node_namespace());
    world.seen(lease(1));
    world.seen(instance(5));
}

fn world() -> World {
    let mut world = World::new(Settings::default(), STALE);
    world.go_live(Instant::now());
    world
}

fn next(world: &mut World) -> Action {
    world.next("uid-web", None, Now::get()).unwrap().action
}

#[test]
fn a_node_is_known_in_whatever_order_its_parts_come() {
    let parts: [fn(&mut World); 3] = [
        |world| drop(world.seen(hypervisor())),
        |world| drop(world.seen(node_namespace())),
        |world| drop(world.seen(lease(1))),
    ];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let mut world = world();
        for part in order {
            parts[part](&mut world);
        }
        let facts = world.node_facts("n", Instant::now());
        assert!(
            facts.ready && facts.namespace && !facts.declared_gone,
            "{order:?}"
        );
        let host = world.cluster.host("n").unwrap();
        assert!(host.ready, "{order:?}");
    }
}

thread_local! {
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A clock that stands still until it is moved.
fn clock() -> Instant {
    *START + PASSED.get()
}

#[test]
fn a_node_that_is_back_before_its_silence_was_told_is_back_for_placement_too() {
    let mut world = World::new(Settings::default(), STALE).with_clock(clock);
    world.go_live(clock());
    world.seen(hypervisor());
    world.seen(node_namespace());
    world.seen(lease(1));
    PASSED.set(STALE);
    // Its report comes before the look at its silence, its renewal right after.
    let mut report = hypervisor();
    report.metadata.resource_version = Some("2".to_owned());
    let versions = json!({"agent": "2", "libvirt": "1", "qemu": "1", "kernel": "1"});
    report.status.as_mut().unwrap().versions = Some(serde_json::from_value(versions).unwrap());
    world.seen(report);
    assert!(!world.cluster.host("n").unwrap().ready);
    world.seen(lease(3));
    assert!(world.node_facts("n", clock()).ready);
    assert!(world.cluster.host("n").unwrap().ready);
}

#[test]
fn a_binding_is_written_and_dispatched_without_a_watch() {
    let mut world = world();
    stage(&mut world);
    assert_eq!(next(&mut world), Action::Bind);
    let bound = world.instance("uid-web").unwrap().clone();
    let binding = world.bind(&bound).unwrap();
    let verdict = kilonova_controllers_core::status::Verdict::Binds(&binding);
    let mut written = instance(9);
    written.status = Some(world.status(&bound, verdict, None, Now::get()));
    world.written(written);
    assert!(matches!(next(&mut world), Action::CreateDomain(_)));
    world.seen(instance(7));
    assert!(
        matches!(next(&mut world), Action::CreateDomain(_)),
        "a late older state undoes nothing"
    );
    assert_eq!(world.cluster.instances_on("n"), 1);
}

#[test]
fn what_was_decided_stays_held_while_it_is_in_doubt() {
    let mut world = world();
    stage(&mut world);
    let unbound = world.instance("uid-web").unwrap().clone();
    world.bind(&unbound).unwrap();
    world.doubt(&unbound);
    assert!(world.doubted("uid-web").is_some());
    assert_eq!(world.cluster.instances_on("n"), 1);
    world.resolved("uid-web");
    assert!(world.doubted("uid-web").is_none());
    assert_eq!(world.cluster.instances_on("n"), 0);
}

#[test]
fn what_a_domain_names_stays_held_until_it_is_known_whether_it_was_made() {
    let mut world = world();
    stage(&mut world);
    let unbound = world.instance("uid-web").unwrap().clone();
    let binding = world.bind(&unbound).unwrap();
    let verdict = kilonova_controllers_core::status::Verdict::Binds(&binding);
    let mut bound = instance(6);
    bound.status = Some(world.status(&unbound, verdict, None, Now::get()));
    world.written(bound);
    assert!(matches!(next(&mut world), Action::CreateDomain(_)));
    // A late leader takes the binding back meanwhile.
    world.seen(instance(7));
    assert_eq!(world.dispatched_to("uid-web").as_deref(), Some("n"));
    assert_eq!(world.cluster.instances_on("n"), 1);
    world.dispatch_ended("uid-web");
    assert_eq!(world.dispatched_to("uid-web"), None);
    assert_eq!(world.cluster.instances_on("n"), 0);
}

#[test]
fn one_who_was_there_before_us_waits_for_the_nodes_orphans() {
    let mut world = World::new(Settings::default(), STALE);
    stage(&mut world);
    world.go_live(Instant::now());
    assert_ne!(next(&mut world), Action::Bind);
    let work = world.seen(lease(2));
    assert!(work.contains(&Work::Instance("uid-web".to_owned())));
    assert_eq!(next(&mut world), Action::Bind);
}

fn vlans(world: &mut World) {
    let spec = json!({"type": "vlan", "physicalNetwork": "physnet1", "ids": ["100-102"]});
    world.seen(object::<NamespaceMeta>("", "shop", 1, json!({})));
    world.seen(object::<NetworkClass>(
        "",
        "vlans",
        1,
        json!({"spec": spec}),
    ));
}

/// A Network; `id`: the VLAN that its status says.
fn network(name: &str, version: u64, id: Option<u32>) -> Network {
    let spec = json!({"class": "vlans", "subnets": [{"cidr": "10.0.0.0/24"}]});
    let mut more = json!({"spec": spec});
    if let Some(id) = id {
        let segment = json!({"type": "vlan", "id": id, "physicalNetwork": "physnet1", "mtu": 1500});
        more["status"] = json!({"observedGeneration": 1, "segment": segment});
    }
    object("shop", name, version, more)
}

/// The node as it holds an orphan of each of these Networks, all in VLAN 100.
fn holding(version: u64, networks: &[&str]) -> Hypervisor {
    let orphan = |name: &&str| {
        let segment =
            json!({"type": "vlan", "id": 100, "physicalNetwork": "physnet1", "mtu": 1500});
        let port = json!({
            "networkUid": format!("uid-{name}"), "mac": "52:54:00:00:00:01", "ips": [],
            "segment": segment,
        });
        json!({
            "uuid": format!("in-{name}"), "namespace": "shop", "namespaceUid": "uid-shop",
            "name": format!("in-{name}"), "uid": format!("in-{name}"),
            "claim": {"vcpus": 1, "memory": "1Gi", "disk": "1Gi"}, "ports": [port],
        })
    };
    let orphans: Vec<Value> = networks.iter().map(orphan).collect();
    let mut node = hypervisor();
    node.metadata.resource_version = Some(version.to_string());
    let status = node.status.as_mut().unwrap();
    status.orphans = serde_json::from_value(Value::Array(orphans)).unwrap();
    node
}

fn work_for(network: &str) -> Work {
    Work::Network(ObjectKey::new("shop", network))
}

/// The VLAN that the Network should have, and the reason of its condition Ready.
fn vlan(world: &mut World, network: &str) -> (Option<u32>, String) {
    let key = ObjectKey::new("shop", network);
    let (_, status, _) = world.network_facts(&key, Now::get()).unwrap();
    let id = status.segment.and_then(|segment| segment.id);
    (id, status.conditions[0].reason.clone())
}

fn chosen(id: u32) -> (Option<u32>, String) {
    (Some(id), "SegmentChosen".to_owned())
}

#[test]
fn no_network_is_given_a_vlan_that_an_orphan_may_use() {
    let mut world = World::new(Settings::default(), STALE);
    vlans(&mut world);
    world.seen(hypervisor());
    world.seen(node_namespace());
    world.seen(lease(1));
    world.seen(network("old", 5, Some(101)));
    world.seen(network("new", 5, None));
    world.go_live(Instant::now());
    assert_eq!(
        vlan(&mut world, "old"),
        chosen(101),
        "what it has, it may keep"
    );
    let waits = (None, "OrphansUnreported".to_owned());
    assert_eq!(vlan(&mut world, "new"), waits);
    world.seen(holding(6, &["lost"]));
    let work = world.seen(lease(2));
    assert!(work.contains(&work_for("new")), "{work:?}");
    assert_eq!(vlan(&mut world, "new"), chosen(102));
}

#[test]
fn networks_that_come_to_share_a_vlan_are_looked_at_until_they_do_no_more() {
    let mut world = world();
    vlans(&mut world);
    world.seen(hypervisor());
    world.seen(network("red", 5, Some(100)));
    let work = world.seen(network("blue", 5, Some(100)));
    assert!(
        [work_for("red"), work_for("blue")]
            .iter()
            .all(|w| work.contains(w)),
        "{work:?}"
    );
    let shared = (Some(100), "SegmentShared".to_owned());
    let work = world.seen(holding(6, &["red", "blue"]));
    for name in ["red", "blue"] {
        assert!(work.contains(&work_for(name)), "{name}: {work:?}");
        assert_eq!(vlan(&mut world, name), shared, "{name}");
    }
    let work = world.seen(holding(7, &["red"]));
    for (name, id) in [("red", 100), ("blue", 101)] {
        assert!(work.contains(&work_for(name)), "{name}: {work:?}");
        assert_eq!(vlan(&mut world, name), chosen(id), "{name}");
    }
}

#[test]
fn an_image_that_is_not_usable_is_read_again_and_a_new_one_at_once() {
    let mut world = world();
    let id = ImageId {
        kind: ImageKind::Image,
        namespace: "shop".to_owned(),
        name: "own".to_owned(),
    };
    let source = json!({"http": {"url": "http://x/y", "checksum": "sha256:00"}});
    let image = |uid: &str, version| {
        let spec = json!({"source": source, "format": "raw"});
        let more = json!({"spec": spec, "metadata": {"uid": uid}});
        object::<Image>("shop", "own", version, more)
    };
    world.seen(image("a", 1));
    let start = Now::get();
    let at = |seconds| Now {
        steady: start.steady + Duration::from_secs(seconds),
        ..start
    };
    let facts = world.image_facts(&id, at(0)).unwrap();
    assert!(
        facts.read.is_some() && facts.status.is_none(),
        "nothing to say yet"
    );
    assert!(
        world.image_facts(&id, at(0)).unwrap().read.is_none(),
        "it is being read"
    );
    world.header_read(&id, "a", Header::Unreachable("down".to_owned()), at(1));
    let facts = world.image_facts(&id, at(1)).unwrap();
    assert!(facts.read.is_none() && facts.status.is_some());
    assert!(facts.again.unwrap() > at(1).steady);
    assert!(world.image_facts(&id, at(60)).unwrap().read.is_some());
    world.seen(image("b", 2));
    assert_eq!(
        world.image_facts(&id, at(60)).unwrap().read.unwrap().uid,
        "b"
    );
    world.header_read(&id, "a", Header::Refused("old".to_owned()), at(61));
    assert!(
        world.image_facts(&id, at(61)).unwrap().status.is_none(),
        "the old one's"
    );
}
