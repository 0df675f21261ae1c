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
    /// A look at a Network whose status is not seen yet.
    Assign(u8),
    /// A look at a Network with the status that it has.
    Look(u8),
    /// A status that somebody wrote who did not know of the others: a leader that is no more.
    Write(u8, u32),
    Forget(u8),
    Hold(u8),
    Release(u8),
}

fn op() -> impl Strategy<Value = Op> {
    (0..6_u8, 0..6_u8, 7..10_u32).prop_map(|(kind, network, id)| match kind {
        0 => Op::Assign(network),
        1 => Op::Look(network),
        2 => Op::Write(network, id),
        3 => Op::Forget(network),
        4 => Op::Hold(network),
        _ => Op::Release(network),
    })
}

/// Who names what, by a second count.
#[derive(Default)]
struct Names {
    /// The id of each Network.
    has: BTreeMap<u8, u32>,
    /// The ports of each Network, by the id that they name.
    ports: Vec<(u8, u32)>,
}

impl Names {
    fn uses(&self, network: u8, id: u32) -> bool {
        self.ports.contains(&(network, id))
    }

    /// The other Networks that name that id, themselves or by their ports.
    fn others(&self, network: u8, id: u32) -> Vec<u8> {
        let has = self.has.iter().map(|(other, of)| (*other, *of));
        let names = has.chain(self.ports.iter().copied());
        let others = names.filter(|(other, of)| *other != network && *of == id);
        others.map(|(other, _)| other).collect()
    }

    /// Whether a Network may stay where it is: it has ports there, or nobody else has any and it is
    /// the first.
    fn stays(&self, network: u8, id: u32) -> bool {
        let weaker = |other: &u8| *other > network && !self.uses(*other, id);
        self.uses(network, id) || self.others(network, id).iter().all(weaker)
    }

    fn taken(&self) -> usize {
        let ids = self.has.values().chain(self.ports.iter().map(|(_, id)| id));
        ids.collect::<std::collections::BTreeSet<_>>().len()
    }

    /// Looks at a Network, and holds what it gets against the laws.
    fn look(&mut self, segments: &mut Segments, n: u8, seen: bool) -> Result<(), TestCaseError> {
        let had = self.has.get(&n).copied();
        let network = match had.filter(|_| seen) {
            Some(id) => with_status(&n.to_string(), id),
            None => network(&n.to_string()),
        };
        let class = vlan(&["7-9"]);
        let assigned = segments.assign(&network, Some(&class), &labels(&[]), true);
        let may_stay = had.is_some_and(|id| self.stays(n, id));
        let Ok(segment) = assigned else {
            if seen {
                self.has.remove(&n);
            }
            prop_assert_eq!(self.taken(), 3, "refused with one free");
            prop_assert!(!seen || !may_stay, "{} lost {:?}", n, had);
            return Ok(());
        };
        let id = segment.segment.id.unwrap();
        if had == Some(id) {
            prop_assert!(may_stay, "{} stays at {}, which is another's", n, id);
        } else {
            prop_assert!(
                self.others(n, id).is_empty(),
                "{} gets {}, which is another's",
                n,
                id
            );
            prop_assert!(!seen || !may_stay, "{} moves from {:?}", n, had);
        }
        self.has.insert(n, id);
        Ok(())
    }
}

proptest! {
    /// Whatever comes and goes, in whatever order: none gets an id that anything of another names.
    /// Where two were given one all the same, it is one's again once each was looked at, unless both
    /// have ports there.
    #[test]
    fn no_two_share_an_id(ops in proptest::collection::vec(op(), 1..80)) {
        let mut segments = Segments::default();
        let mut names = Names::default();
        for op in ops {
            match op {
                Op::Assign(n) => names.look(&mut segments, n, false)?,
                Op::Look(n) => names.look(&mut segments, n, true)?,
                Op::Write(n, id) => {
                    let _ = segments.set_network(&n.to_string().into(), Some(key(id)));
                    names.has.insert(n, id);
                }
                Op::Forget(n) => {
                    let _ = segments.forget_network(&n.to_string());
                    names.has.remove(&n);
                }
                Op::Hold(n) => {
                    if let Some(id) = names.has.get(&n).copied() {
                        let _ = segments.hold(&key(id), &n.to_string().into());
                        names.ports.push((n, id));
                    }
                }
                Op::Release(n) => {
                    if let Some(at) = names.ports.iter().position(|(of, _)| *of == n) {
                        let (_, id) = names.ports.remove(at);
                        let _ = segments.release(&key(id), &n.to_string());
                    }
                }
            }
        }
        for n in 0..6 {
            names.look(&mut segments, n, true)?;
        }
        for (n, id) in &names.has {
            let others = names.others(*n, *id);
            prop_assert!(others.iter().all(|other| names.uses(*n, *id) && names.uses(*other, *id)));
        }
    }
}
