//! The laws of segments: one Network each, and none is given that anything names.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(clippy::needless_pass_by_value, reason = "objects written in place")]

use super::*;
use crate::testing::parse;
use proptest::prelude::*;
use serde_json::{Value, json};

fn class(name: &str, spec: Value) -> NetworkClass {
    let api = "kilonova.dev/v1alpha1";
    parse(json!({
        "apiVersion": api, "kind": "NetworkClass", "metadata": {"name": name}, "spec": spec,
    }))
}

fn vlan(ids: &[&str]) -> NetworkClass {
    class(
        "tenants",
        json!({"type": "vlan", "physicalNetwork": "physnet1", "ids": ids}),
    )
}

fn network(uid: &str) -> Network {
    parse(json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Network",
        "metadata": {"name": uid, "namespace": "shop", "uid": uid},
        "spec": {"class": "tenants", "subnets": [{"cidr": "10.0.0.0/24"}]},
    }))
}

fn labels(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = of.iter();
    pairs
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn id(segments: &mut Segments, uid: &str, class: &NetworkClass) -> Result<Option<u32>, NoSegment> {
    let assigned = segments.assign(&network(uid), Some(class), &labels(&[]), true);
    assigned.map(|assigned| assigned.segment.id)
}

fn key(id: u32) -> SegmentKey {
    SegmentKey::new(Some(&"physnet1".to_owned()), Some(id)).unwrap()
}

#[test]
fn ids_come_in_the_order_of_the_class_until_none_is_left() {
    let (mut segments, class) = (Segments::default(), vlan(&["250", "100-101"]));
    for (uid, wanted) in [("a", 250), ("b", 100), ("a", 250), ("c", 101)] {
        assert_eq!(id(&mut segments, uid, &class), Ok(Some(wanted)), "{uid}");
    }
    let none = id(&mut segments, "d", &class).unwrap_err();
    assert_eq!(none.reason(), "NoSegmentFree");
    assert!(none.to_string().ends_with("250, 100-101"), "{none}");
    assert!(segments.forget_network("b").freed);
    assert_eq!(id(&mut segments, "d", &class), Ok(Some(100)));
}

#[test]
fn what_anything_names_is_not_given() {
    let (mut segments, class) = (Segments::default(), vlan(&["100"]));
    assert_eq!(id(&mut segments, "a", &class), Ok(Some(100)));
    let _ = segments.hold(&key(100), &"a".into());
    let _ = segments.hold(&key(100), &"a".into());
    assert!(!segments.forget_network("a").freed, "removed by force");
    assert!(!segments.release(&key(100), "a").freed);
    assert!(id(&mut segments, "b", &class).is_err());
    assert!(segments.release(&key(100), "a").freed, "the last of it");
    assert_eq!(id(&mut segments, "b", &class), Ok(Some(100)));
}

#[test]
fn a_network_that_lost_its_status_gets_what_its_ports_name() {
    let (mut segments, class) = (Segments::default(), vlan(&["100-110"]));
    let _ = segments.hold(&key(105), &"a".into());
    assert_eq!(id(&mut segments, "a", &class), Ok(Some(105)));
}

#[test]
fn two_classes_share_the_ids_of_one_physical_network_and_no_more() {
    let (mut segments, one) = (Segments::default(), vlan(&["100-101"]));
    let two = vlan(&["101-102"]);
    let elsewhere = class(
        "other",
        json!({"type": "vlan", "physicalNetwork": "physnet2", "ids": ["101"]}),
    );
    for (uid, class, wanted) in [
        ("a", &one, 100),
        ("b", &one, 101),
        ("c", &two, 102),
        ("d", &elsewhere, 101),
    ] {
        assert_eq!(id(&mut segments, uid, class), Ok(Some(wanted)), "{uid}");
    }
}

#[test]
fn flat_has_one_network_beside_the_vlans() {
    let mut segments = Segments::default();
    let everyone = json!({"type": "flat", "physicalNetwork": "physnet1", "allowedNamespaces": {}});
    let flat = class("edge", everyone);
    assert_eq!(id(&mut segments, "v", &vlan(&["100"])), Ok(Some(100)));
    assert_eq!(id(&mut segments, "a", &flat), Ok(None));
    assert_eq!(id(&mut segments, "a", &flat), Ok(None));
    let taken = id(&mut segments, "b", &flat).unwrap_err();
    assert_eq!(taken, NoSegment::FlatTaken("physnet1".to_owned()));
    let _ = segments.forget_network("a");
    assert_eq!(id(&mut segments, "b", &flat), Ok(None));
}

#[test]
fn namespaces_are_allowed_by_their_labels() {
    let mut segments = Segments::default();
    let mut ask = |class: &NetworkClass, of: &[(&str, &str)]| {
        let assigned = segments.assign(&network("a"), Some(class), &labels(of), true);
        assigned.map(drop).map_err(|no| no.reason())
    };
    let gold = json!({"matchLabels": {"tier": "gold"}});
    let flat = json!({"type": "flat", "physicalNetwork": "physnet1"});
    assert_eq!(ask(&class("c", flat.clone()), &[]), Err("NotAllowed"));
    let mut flat_gold = flat;
    flat_gold["allowedNamespaces"] = gold.clone();
    assert_eq!(ask(&class("c", flat_gold.clone()), &[]), Err("NotAllowed"));
    assert_eq!(ask(&class("c", flat_gold), &[("tier", "gold")]), Ok(()));
    let local = json!({"type": "local", "allowedNamespaces": gold});
    assert_eq!(
        ask(&class("c", local), &[("tier", "tin")]),
        Err("NotAllowed")
    );
    assert_eq!(ask(&class("c", json!({"type": "local"})), &[]), Ok(()));
}

fn with_status(uid: &str, id: u32) -> Network {
    let mut network = network(uid);
    let segment = json!({"type": "vlan", "id": id, "physicalNetwork": "physnet1", "mtu": 1500});
    network.status = Some(parse(json!({"observedGeneration": 1, "segment": segment})));
    network
}

#[test]
fn of_two_with_one_id_the_unused_one_moves() {
    let class = vlan(&["100-101"]);
    for user in ["a", "b"] {
        let mut segments = Segments::default();
        for uid in ["a", "b"] {
            let _ = segments.set_network(&uid.into(), Some(key(100)));
        }
        let _ = segments.hold(&key(100), &user.into());
        for uid in ["a", "b"] {
            let network = with_status(uid, 100);
            let assigned = segments.assign(&network, Some(&class), &labels(&[]), true);
            let wanted = if uid == user { 100 } else { 101 };
            assert_eq!(
                assigned.unwrap().segment.id,
                Some(wanted),
                "{uid}, {user} in use"
            );
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Assign(u8),
    Forget(u8),
    Hold(u8),
    Release(u8),
}

fn op() -> impl Strategy<Value = Op> {
    (0..4_u8, 0..6_u8).prop_map(|(kind, network)| match kind {
        0 => Op::Assign(network),
        1 => Op::Forget(network),
        2 => Op::Hold(network),
        _ => Op::Release(network),
    })
}

proptest! {
    /// Whatever comes and goes, in whatever order: never two Networks with one id, and none while
    /// anything of another names it.
    #[test]
    fn no_two_share_an_id(ops in proptest::collection::vec(op(), 1..80)) {
        let class = vlan(&["7-9"]);
        let mut segments = Segments::default();
        // What there is, by a second count: the id of each Network, and who names which id.
        let mut has: BTreeMap<u8, u32> = BTreeMap::new();
        let mut named: Vec<(u8, u32)> = Vec::new();
        for op in ops {
            match op {
                Op::Assign(n) => {
                    if let Ok(id) = id(&mut segments, &n.to_string(), &class) {
                        has.insert(n, id.unwrap());
                    } else {
                        let taken: std::collections::BTreeSet<u32> =
                            has.values().copied().chain(named.iter().map(|(_, id)| *id)).collect();
                        prop_assert_eq!(taken.len(), 3, "refused with one free");
                    }
                }
                Op::Forget(n) => {
                    let _ = segments.forget_network(&n.to_string());
                    has.remove(&n);
                }
                Op::Hold(n) => {
                    if let Some(id) = has.get(&n) {
                        let _ = segments.hold(&key(*id), &n.to_string().into());
                        named.push((n, *id));
                    }
                }
                Op::Release(n) => {
                    if let Some(at) = named.iter().position(|(of, _)| *of == n) {
                        let (_, id) = named.remove(at);
                        let _ = segments.release(&key(id), &n.to_string());
                    }
                }
            }
            for (n, id) in &has {
                prop_assert!(has.iter().all(|(o, other)| o == n || other != id));
                prop_assert!(named.iter().all(|(o, other)| o == n || other != id));
            }
        }
    }
}
