//! Objects in every state, with the statuses that the controllers write, for the tests of health
//! checks in `gitops/`. `UPDATE_FIXTURES=1` writes them anew.
#![allow(clippy::unwrap_used, reason = "tests")]

use k8s_openapi::jiff::Timestamp;
use kilonova_controllers_core::compile::domain_spec;
use kilonova_controllers_core::hypervisors;
use kilonova_controllers_core::images::{Header, image_status};
use kilonova_controllers_core::lifecycle::Pause;
use kilonova_controllers_core::networks::network_status;
use kilonova_controllers_core::placement::{Filter, NoValidHost};
use kilonova_controllers_core::segments::Segments;
use kilonova_controllers_core::status::{StatusInput, Verdict, instance_status};
use kilonova_controllers_core::wait::Wait;
use kilonova_crds::condition::TROUBLE;
use kilonova_crds::node::{Domain, DomainStatus};
use kilonova_crds::v1alpha1::{
    Flavor, Hypervisor, HypervisorStatus, Image, ImageFormat, Instance, Network, NetworkClass,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What kstatus and what the health check of Argo CD must say of an object.
#[derive(Serialize)]
struct Fixture {
    kstatus: &'static str,
    argocd: &'static str,
    object: Value,
}

/// The fixtures of a kind, by the names of the states.
type Fixtures = BTreeMap<&'static str, Fixture>;

fn fixture(kstatus: &'static str, argocd: &'static str, object: &impl Serialize) -> Fixture {
    Fixture {
        kstatus,
        argocd,
        object: serde_json::to_value(object).unwrap(),
    }
}

fn done(object: &impl Serialize) -> Fixture {
    fixture("Current", "Healthy", object)
}

fn under_way(object: &impl Serialize) -> Fixture {
    fixture("InProgress", "Progressing", object)
}

/// It may go on by itself, and needs a look all the same.
fn troubled(object: &impl Serialize) -> Fixture {
    fixture("InProgress", "Degraded", object)
}

fn failed(object: &impl Serialize) -> Fixture {
    fixture("Failed", "Degraded", object)
}

fn parse<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn object<T: DeserializeOwned>(kind: &str, name: &str, spec: &Value, status: &Value) -> T {
    let mut object = json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": kind, "spec": spec,
        "metadata": {"name": name, "namespace": "shop", "uid": "0d8e35bf", "generation": 2},
    });
    if !status.is_null() {
        object["status"] = status.clone();
    }
    parse(object)
}

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn instance(power: &str, status: &Value) -> Instance {
    let image = json!({"kind": "ClusterImage", "name": "debian-12"});
    let spec = json!({"flavor": "small", "image": image, "power": power});
    object("Instance", "web-1", &spec, status)
}

fn bound(power: &str) -> Instance {
    let image = json!({
        "url": "https://x/d", "checksum": "sha256:00", "format": "qcow2", "virtualSize": "1Gi",
    });
    let status = json!({
        "observedGeneration": 2, "uuid": "0d8e35bf", "nodeName": "node-1", "image": image,
        "claim": {"flavor": "small", "vcpus": 1, "memory": "1Gi", "disk": "10Gi"},
    });
    instance(power, &status)
}

/// The Instance with the status that it has by the scheduler's word, and its Domain's report.
fn with_status(
    mut instance: Instance,
    verdict: Verdict<'_>,
    pause: Option<&Pause>,
    report: Option<(Value, bool)>,
) -> Instance {
    let hypervisor_ready = report.as_ref().is_none_or(|(_, ready)| *ready);
    let domain = report.map(|(report, _)| {
        let mut domain = Domain::new("0d8e35bf", domain_spec(&instance, "ns").unwrap());
        domain.metadata.generation = Some(1);
        let mut report: DomainStatus = parse(report);
        report.observed_generation = 1;
        domain.status = Some(report);
        domain
    });
    let status = instance_status(&StatusInput {
        instance: &instance,
        verdict,
        domain: domain.as_ref(),
        hypervisor_ready,
        pause,
        now: now(),
    });
    instance.status = Some(status);
    instance
}

fn reporting(instance: Instance, report: Value) -> Instance {
    with_status(instance, Verdict::Keep, None, Some((report, true)))
}

/// A bound Instance that is as it was ordered, or has only this power state so far.
fn settled(power: &str, state: &str) -> Instance {
    let report = json!({"powerState": state, "outcome": "Running", "diskCreated": true});
    reporting(bound(power), report)
}

fn off_because(reason: &str) -> Instance {
    let report = json!({"powerState": "Shutoff", "reason": reason, "message": "why"});
    reporting(bound("On"), report)
}

fn waiting(wait: &Wait) -> Instance {
    let new = instance("On", &json!({"observedGeneration": -1}));
    with_status(new, Verdict::Waits(wait), None, None)
}

fn instances_that_wait() -> Fixtures {
    let full = Wait::NoValidHost(NoValidHost {
        counts: vec![(Filter::Memory, 2), (Filter::Cordoned, 1)],
    });
    let outside = Wait::AddressOutside {
        ip: "10.1.0.5".to_owned(),
        network: "blue".to_owned(),
        why: "it is in no subnet".to_owned(),
    };
    let no_secret = Wait::SecretMissing("first-boot".to_owned());
    let new = instance("On", &json!({"observedGeneration": -1}));
    // As kubectl sends it, before the API server has given it the default of the status.
    let unsent = instance("On", &Value::Null);
    BTreeMap::from([
        ("new", under_way(&new)),
        ("unsent", fixture("Current", "Progressing", &unsent)),
        ("full", under_way(&waiting(&full))),
        ("user-data-missing", troubled(&waiting(&no_secret))),
        ("stalled", failed(&waiting(&outside))),
    ])
}

fn instances() -> Fixtures {
    let running = settled("On", "Running");
    let mut changed = running.clone();
    changed.metadata.generation = Some(3);
    let report = json!({"powerState": "Running", "outcome": "Running"});
    let lost = Some((report, false));
    let unreachable = with_status(running.clone(), Verdict::Keep, None, lost);
    let mut leaving = running.clone();
    leaving.metadata.deletion_timestamp = Some(parse(json!("1970-01-01T00:00:00Z")));
    let pause = Pause::Purging("node-1".to_owned());
    let leaving = with_status(leaving, Verdict::Keep, Some(&pause), None);
    let dispatched = with_status(bound("On"), Verdict::Keep, None, None);
    let download = json!({"reason": "ImageDownloading", "message": "its image is being fetched"});
    let downloading = reporting(bound("On"), download);
    let ended = off_because("GuestStopped");
    let mut all = instances_that_wait();
    all.extend([
        ("bound", under_way(&dispatched)),
        ("downloading", under_way(&downloading)),
        ("running", done(&running)),
        ("changed", under_way(&changed)),
        ("stopped", done(&settled("Off", "Shutoff"))),
        ("paused", done(&settled("Paused", "Paused"))),
        ("suspended", done(&settled("Suspended", "Suspended"))),
        ("stopping", under_way(&settled("Off", "Running"))),
        ("guest-stopped", fixture("InProgress", "Suspended", &ended)),
        ("crash-looping", troubled(&off_because("CrashLoopBackOff"))),
        ("io-error", troubled(&off_because("IOError"))),
        ("disk-missing", failed(&off_because("DiskMissing"))),
        ("unreachable", troubled(&unreachable)),
        ("leaving", fixture("Terminating", "Progressing", &leaving)),
    ]);
    all
}

fn networks() -> Fixtures {
    let network = |subnet: &Value, class: Option<Value>| {
        let spec = json!({"class": "tenants", "subnets": [subnet]});
        let mut network: Network = object("Network", "blue", &spec, &Value::Null);
        let class: Option<NetworkClass> =
            class.map(|spec| object("NetworkClass", "tenants", &spec, &Value::Null));
        let assign =
            || Segments::default().assign(&network, class.as_ref(), &BTreeMap::new(), true);
        let status = network_status(&network, assign, false, now());
        network.status = Some(status);
        network
    };
    let good = json!({"cidr": "10.0.0.0/24"});
    let broadcast = json!({"cidr": "10.0.0.0/24", "gateway": "10.0.0.255"});
    let vlan = json!({"type": "vlan", "physicalNetwork": "physnet1", "ids": ["100-199"]});
    let flat = json!({"type": "flat", "physicalNetwork": "physnet1"});
    BTreeMap::from([
        ("ready", done(&network(&good, Some(vlan.clone())))),
        ("waiting", under_way(&network(&good, None))),
        ("not-allowed", under_way(&network(&good, Some(flat)))),
        ("stalled", failed(&network(&broadcast, Some(vlan)))),
    ])
}

fn images() -> Fixtures {
    let checksum = format!("sha256:{}", "0".repeat(64));
    let source = json!({"http": {"url": "https://x/d.qcow2", "checksum": checksum}});
    let spec = json!({"format": "qcow2", "source": source});
    let image = |header: Option<Header>| {
        let mut image: Image = object("Image", "debian-12", &spec, &Value::Null);
        let status = image_status(&image.spec, 2, None, header.as_ref(), now());
        image.status = Some(status);
        image
    };
    let read = |format| Header::Read {
        format,
        virtual_size: 1 << 30,
    };
    let unreachable = Header::Unreachable("connection refused".to_owned());
    BTreeMap::from([
        ("ready", done(&image(Some(read(ImageFormat::Qcow2))))),
        ("unread", under_way(&image(None))),
        ("unreachable", under_way(&image(Some(unreachable)))),
        ("other-format", failed(&image(Some(read(ImageFormat::Raw))))),
    ])
}

fn operators() -> Fixtures {
    let hypervisor = |fresh: bool| {
        let mut hypervisor: Hypervisor = object("Hypervisor", "node-1", &json!({}), &Value::Null);
        let conditions = hypervisors::conditions(&hypervisor, fresh, false, 1, now());
        hypervisor.status = Some(HypervisorStatus {
            observed_generation: Some(2),
            conditions,
            ..HypervisorStatus::default()
        });
        hypervisor
    };
    let sizes = json!({"vcpus": 1, "memory": "1Gi", "disk": "10Gi"});
    let flavor: Flavor = object("Flavor", "small", &sizes, &Value::Null);
    BTreeMap::from([
        ("flavor", done(&flavor)),
        ("hypervisor-ready", done(&hypervisor(true))),
        ("hypervisor-lost", troubled(&hypervisor(false))),
    ])
}

#[test]
fn the_fixtures_of_health_checks_are_what_the_controllers_write() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gitops/fixtures");
    let update = std::env::var_os("UPDATE_FIXTURES").is_some();
    for (name, fixtures) in [
        ("instances", instances()),
        ("networks", networks()),
        ("images", images()),
        ("operators", operators()),
    ] {
        let path = directory.join(name).with_extension("json");
        let text = serde_json::to_string_pretty(&fixtures).unwrap() + "\n";
        if update {
            std::fs::write(&path, &text).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        let advice = "UPDATE_FIXTURES=1 cargo test -p kilonova-controllers-core --test gitops";
        assert!(there == text, "{} differs; {advice}", path.display());
    }
}

#[test]
fn the_health_check_knows_every_reason_that_is_trouble() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gitops/argocd/health.lua");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once("local trouble = {").unwrap();
    let (table, _) = rest.split_once('}').unwrap();
    let reasons = table
        .lines()
        .filter_map(|l| l.trim().strip_suffix(" = true,"));
    assert_eq!(reasons.collect::<BTreeSet<_>>(), BTreeSet::from(TROUBLE));
}
