#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::host_state::{Defaults, HostState};
use crate::resources::Resources;
use crate::testing::{hypervisor, instance, labelled, node};
use kilonova_crds::v1alpha1::BoundSegment;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const GIB: u64 = 1 << 30;

fn small() -> Resources {
    Resources {
        vcpus: 1,
        memory: GIB,
        disk: GIB,
    }
}

fn host(name: &str, memory: u32, labels: &Value, taints: &Value) -> HostState {
    let hypervisor = hypervisor(name, 8, memory, 100);
    let node = node(name, labels, taints);
    HostState::new(&hypervisor, Some(&node), true, &Defaults::default())
}

fn hosts(states: impl IntoIterator<Item = HostState>) -> Hosts {
    let mut hosts = Hosts::default();
    for state in states {
        hosts.set(state);
    }
    hosts
}

/// Three hosts `a`, `b`, `c` in zones 1, 1, 2.
fn three() -> Hosts {
    hosts([("a", "1"), ("b", "1"), ("c", "2")].map(|(name, zone)| {
        let labels = json!({"zone": zone, "kubernetes.io/hostname": name});
        host(name, 8, &labels, &json!([]))
    }))
}

fn request(spec: Value) -> Request {
    Request::new(&instance("x", spec), small(), None)
}

fn place(hosts: &mut Hosts, request: &Request) -> Result<String, String> {
    let placed = hosts.place(request, &Weights::default());
    placed
        .map(|p| p.node.to_string())
        .map_err(|e| e.to_string())
}

/// Puts an instance with those labels and that affinity on a node.
fn put(hosts: &mut Hosts, name: &str, labels: Value, affinity: &Value, node: &str) {
    let it = labelled(instance(name, json!({"affinity": affinity})), labels);
    let uid = Arc::from(it.metadata.uid.clone().unwrap());
    let labels = it.metadata.labels.clone().unwrap_or_default();
    hosts.describe("shop", &uid, &labels, anti_affinity(&it));
    hosts.set_placed("shop", &uid, node, true);
}

fn term(app: &str, topology_key: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": topology_key})
}

fn apart(app: &str, topology_key: &str) -> Value {
    let required = json!([term(app, topology_key)]);
    json!({"instanceAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}})
}

fn near(app: &str, topology_key: &str) -> Value {
    let required = json!([term(app, topology_key)]);
    json!({"instanceAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}})
}

#[test]
fn no_host_at_all_says_so() {
    let said = place(&mut Hosts::default(), &request(json!({})));
    assert_eq!(said, Err("0/0 hypervisors: none has registered".into()));
}

#[test]
fn the_sentence_counts_the_first_failure_of_each_host() {
    let mut cordoned = host("c", 8, &json!({}), &json!([]));
    cordoned.cordoned = true;
    let [a, b] = ["a", "b"].map(|n| host(n, 0, &json!({}), &json!([])));
    let said = place(&mut hosts([cordoned, a, b]), &request(json!({})));
    let want = "0/3 hypervisors: 2 too little memory, 1 cordoned";
    assert_eq!(said, Err(want.into()));
}

#[test]
fn each_filter_has_its_phrase() {
    let plain = || host("a", 8, &json!({"zone": "1"}), &json!([]));
    let change = |f: &dyn Fn(&mut HostState)| {
        let mut state = plain();
        f(&mut state);
        state
    };
    let mut on_arm = request(json!({}));
    on_arm.constraints.architecture = Some("aarch64".into());
    let mut with_kvm = request(json!({}));
    with_kvm.constraints.virtualization_type =
        Some(kilonova_crds::v1alpha1::VirtualizationType::Kvm);
    let mut on_physnet = request(json!({}));
    on_physnet.constraints.uplinks = vec![UplinkNeed {
        physical_network: "physnet1".into(),
        mtu: 1500,
    }];
    let narrow = |h: &mut HostState| {
        h.physical_networks.insert("physnet1".into(), 1499);
    };
    let mut refused = request(json!({}));
    refused.refused.insert("a".into());
    let amount = |vcpus, disk| Resources {
        vcpus,
        disk,
        memory: 9 * GIB,
    };
    let normal = || request(json!({}));
    for (state, request, phrase) in [
        (change(&|h| h.ready = false), normal(), "not ready"),
        (change(&|h| h.cordoned = true), normal(), "cordoned"),
        (
            change(&|h| h.lacks = BTreeSet::from(["GuestsReady"])),
            normal(),
            "lacks what it needs (its conditions say what)",
        ),
        (
            change(&|h| h.orphans = 201),
            normal(),
            "too many orphans held",
        ),
        (plain(), refused, "refused it"),
        (
            host(
                "a",
                8,
                &json!({}),
                &json!([{"key": "k", "effect": "NoExecute"}]),
            ),
            normal(),
            "taint not tolerated",
        ),
        (
            plain(),
            request(json!({"nodeSelector": {"zone": "2"}})),
            "node selector/affinity does not match",
        ),
        (
            plain(),
            request(
                json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}
                ]}}}}),
            ),
            "node selector/affinity does not match",
        ),
        (plain(), on_arm, "other architecture"),
        (plain(), with_kvm, "other virtualization type"),
        (plain(), on_physnet.clone(), "physical network missing"),
        (change(&narrow), on_physnet, "MTU of the NIC too small"),
        (
            plain(),
            request(json!({"affinity": near("db", "zone")})),
            "instance affinity",
        ),
        (
            change(&|h| h.allocatable = Resources::ZERO),
            normal(),
            "too little memory",
        ),
        (
            change(&|h| h.allocatable = amount(0, GIB)),
            normal(),
            "too few vcpus",
        ),
        (
            change(&|h| h.allocatable = amount(1, 0)),
            normal(),
            "too little disk",
        ),
    ] {
        let said = place(&mut hosts([state]), &request);
        assert_eq!(said, Err(format!("0/1 hypervisors: 1 {phrase}")));
    }
    assert_eq!(place(&mut hosts([plain()]), &normal()), Ok("a".into()));
}

#[test]
fn a_host_is_left_out_for_what_it_lacks_and_for_nothing_else() {
    let segment = |type_: &str| -> BoundSegment {
        serde_json::from_value(json!({"type": type_, "mtu": 1500})).unwrap()
    };
    let wants = |types: &[&str]| {
        let mut request = request(json!({}));
        let segments: Vec<_> = types.iter().map(|t| segment(t)).collect();
        request.constraints.connect(segments.iter());
        request
    };
    for (lacks, types, fits) in [
        ("LibvirtReady", &[][..], false),
        ("GuestsReady", &[], false),
        ("NetworksReady", &[], true),
        ("NetworksReady", &["local"], false),
        ("VLANsReady", &["local"], true),
        ("VLANsReady", &["local", "vlan"], false),
        ("VLANsReady", &["flat"], true),
        ("FlatNetworksReady", &["flat"], false),
        ("FlatNetworksReady", &["vlan"], true),
        ("PhysicalNetworksReady", &["vlan"], true),
    ] {
        let mut it = hypervisor("a", 8, 8, 100);
        let condition = json!({
            "type": lacks, "status": "False", "reason": "Missing", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let conditions = serde_json::from_value(json!([condition])).unwrap();
        it.status.as_mut().unwrap().conditions = conditions;
        let state = HostState::new(&it, None, true, &Defaults::default());
        let placed = place(&mut hosts([state]), &wants(types));
        assert_eq!(placed.is_ok(), fits, "{lacks} {types:?}");
    }
}

#[test]
fn a_taint_is_borne_by_who_tolerates_it() {
    let taints = json!([{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]);
    let mut hosts = hosts([host("a", 8, &json!({}), &taints)]);
    let bears = request(json!({"tolerations": [{"key": "gpu", "value": "yes"}]}));
    assert_eq!(place(&mut hosts, &bears), Ok("a".into()));
    assert!(place(&mut hosts, &request(json!({}))).is_err());
}

#[test]
fn a_change_of_the_host_counts_at_once() {
    let mut hosts = three();
    let in_zone_9 = request(json!({"nodeSelector": {"zone": "9"}}));
    assert!(place(&mut hosts, &in_zone_9).is_err());
    assert!(hosts.set(host("b", 8, &json!({"zone": "9"}), &json!([]))));
    assert_eq!(place(&mut hosts, &in_zone_9), Ok("b".into()));
    assert!(!hosts.set(host("b", 8, &json!({"zone": "9"}), &json!([]))));
    assert!(hosts.remove("b"));
    let none = "0/2 hypervisors: 2 node selector/affinity does not match";
    assert_eq!(place(&mut hosts, &in_zone_9), Err(none.into()));
}

#[test]
fn more_free_room_wins_and_ties_go_by_name() {
    let mut hosts = three();
    assert_eq!(place(&mut hosts, &request(json!({}))), Ok("a".into()));
    hosts.set_used("a", small(), 1);
    assert_eq!(place(&mut hosts, &request(json!({}))), Ok("b".into()));
    let stack = Weights {
        ram: -1.0,
        cpu: -1.0,
        disk: -1.0,
        ..Weights::default()
    };
    let packed = hosts.place(&request(json!({})), &stack).unwrap();
    assert_eq!(&*packed.node, "a");
    let fewest = Weights {
        ram: 0.0,
        cpu: 0.0,
        disk: 0.0,
        instances: -1.0,
        ..Weights::default()
    };
    let spread = hosts.place(&request(json!({})), &fewest).unwrap();
    assert_eq!(&*spread.node, "b");
}

#[test]
fn preferences_win_where_room_is_equal() {
    let prefers = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 10, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["2"]}]}}
    ]}}});
    assert_eq!(place(&mut three(), &request(prefers)), Ok("c".into()));
    let mut hosts = three();
    put(&mut hosts, "db", json!({"app": "db"}), &json!({}), "b");
    let soft = |rule: &str| {
        let preferred =
            json!([{"weight": 10, "instanceAffinityTerm": term("db", "kubernetes.io/hostname")}]);
        request(
            json!({"affinity": {rule: {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}}),
        )
    };
    assert_eq!(place(&mut hosts, &soft("instanceAffinity")), Ok("b".into()));
    put(&mut hosts, "db2", json!({"app": "db"}), &json!({}), "a");
    assert_eq!(
        place(&mut hosts, &soft("instanceAntiAffinity")),
        Ok("c".into())
    );
    let taints = json!([{"key": "k", "effect": "PreferNoSchedule"}]);
    hosts = three();
    hosts.set(host("a", 8, &json!({}), &taints));
    assert_eq!(place(&mut hosts, &request(json!({}))), Ok("b".into()));
}

#[test]
fn affinity_is_by_topology_domain() {
    let mut hosts = three();
    put(&mut hosts, "db", json!({"app": "db"}), &json!({}), "c");
    let same_zone = request(json!({"affinity": near("db", "zone")}));
    assert_eq!(place(&mut hosts, &same_zone), Ok("c".into()));
    let other_zone = request(json!({"affinity": apart("db", "zone")}));
    assert_eq!(place(&mut hosts, &other_zone), Ok("a".into()));
    put(&mut hosts, "db1", json!({"app": "db"}), &json!({}), "b");
    let nowhere = "0/3 hypervisors: 3 instance anti-affinity";
    assert_eq!(place(&mut hosts, &other_zone), Err(nowhere.into()));
    let other_host = request(json!({"affinity": apart("db", "kubernetes.io/hostname")}));
    assert_eq!(place(&mut hosts, &other_host), Ok("a".into()));
}

#[test]
fn anti_affinity_holds_for_those_who_come_after() {
    let mut hosts = three();
    let alone = apart("web", "kubernetes.io/hostname");
    put(&mut hosts, "db", json!({"app": "db"}), &alone, "a");
    let web = labelled(instance("web", json!({})), json!({"app": "web"}));
    let web = Request::new(&web, small(), None);
    assert_eq!(place(&mut hosts, &web), Ok("b".into()));
    hosts.forget("shop", "uid-db");
    assert_eq!(place(&mut hosts, &web), Ok("a".into()));
}

#[test]
fn the_first_of_a_group_that_is_near_itself_finds_a_host() {
    let mut hosts = three();
    let member = |name| {
        labelled(
            instance(name, json!({"affinity": near("web", "zone")})),
            json!({"app": "web"}),
        )
    };
    let first = Request::new(&member("w1"), small(), None);
    assert_eq!(place(&mut hosts, &first), Ok("a".into()));
    put(&mut hosts, "w1", json!({"app": "web"}), &json!({}), "c");
    let second = Request::new(&member("w2"), small(), None);
    assert_eq!(place(&mut hosts, &second), Ok("c".into()));
}

#[test]
fn labels_that_change_are_counted_anew() {
    let mut hosts = three();
    put(&mut hosts, "db", json!({"app": "db"}), &json!({}), "b");
    let near_db = request(json!({"affinity": near("db", "kubernetes.io/hostname")}));
    assert_eq!(place(&mut hosts, &near_db), Ok("b".into()));
    let changed = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    assert!(hosts.describe("shop", &Arc::from("uid-db"), &changed, vec![]));
    assert!(place(&mut hosts, &near_db).is_err());
    let uid = Arc::from("uid-db");
    assert!(hosts.set_placed("shop", &uid, "b", false));
    assert!(!hosts.set_placed("shop", &uid, "b", false));
}

/// What a plain reading of the rules gives: each host's first failure, without any index.
fn naive(states: &[(HostState, Resources)], request: &Request) -> Vec<Option<Filter>> {
    let lacks = |(state, used): &(HostState, Resources)| {
        let fails = |wanted: fn(Resources) -> u64| {
            wanted(request.resources) + wanted(*used) > wanted(state.allocatable)
        };
        if state.cordoned {
            Some(Filter::Cordoned)
        } else if !matching::contains(&state.labels, &request.constraints.node_selector) {
            Some(Filter::NodeAffinity)
        } else if fails(|r| r.memory) {
            Some(Filter::Memory)
        } else if fails(|r| r.vcpus) {
            Some(Filter::Vcpus)
        } else if fails(|r| r.disk) {
            Some(Filter::Disk)
        } else {
            None
        }
    };
    states.iter().map(lacks).collect()
}

proptest! {
    /// The arrays and kept classes decide as a plain reading does, through any history of changes;
    /// who is chosen passes, and nobody is chosen only when none passes.
    #[test]
    fn decides_as_a_plain_reading(
        steps in prop::collection::vec((0..4usize, 0..4u32, 0..3u8, any::<bool>(), 0..4u64, 0..3u8), 1..40)
    ) {
        let mut hosts = Hosts::default();
        let mut model: BTreeMap<usize, (HostState, Resources)> = BTreeMap::new();
        for (index, memory, zone, cordoned, used, wanted_zone) in steps {
            let name = format!("n{index}");
            let mut state = host(&name, memory, &json!({"zone": zone.to_string()}), &json!([]));
            state.cordoned = cordoned;
            let used = Resources { vcpus: used, memory: used * GIB, disk: used * 40 * GIB };
            hosts.set(state.clone());
            hosts.set_used(&name, used, 1);
            model.insert(index, (state, used));
            let selector = if wanted_zone == 2 { json!({}) } else { json!({"zone": wanted_zone.to_string()}) };
            let request = request(json!({"nodeSelector": selector}));
            let all: Vec<_> = model.values().cloned().collect();
            let failures = naive(&all, &request);
            match hosts.place(&request, &Weights::default()) {
                Ok(placed) => {
                    let chosen = all.iter().position(|(s, _)| s.name == placed.node).unwrap();
                    prop_assert_eq!(failures[chosen], None);
                }
                Err(none) => {
                    let mut counts: Vec<Filter> = failures.into_iter().map(Option::unwrap).collect();
                    counts.sort();
                    let mut said: Vec<Filter> = none.counts.iter()
                        .flat_map(|(f, n)| std::iter::repeat_n(*f, *n as usize)).collect();
                    said.sort();
                    prop_assert_eq!(counts, said);
                }
            }
        }
    }
}
