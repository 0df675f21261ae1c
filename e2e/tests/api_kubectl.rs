//! The objects as people meet them through kubectl: apply, diff, explain, get, wait.
//!
//! No controllers run: what they would write into a status is written here by the admin.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]

mod api_common;

use std::collections::{BTreeMap, BTreeSet};

use api_common::{Asker, collection, good, lab};
use kilonova_e2e::{process::Output, repo};
use serde_json::{Value, json};

/// The kinds that people write, in the order in which one depends on the other.
const KINDS: [&str; 8] = [
    "Flavor",
    "NetworkClass",
    "ClusterImage",
    "Hypervisor",
    "Network",
    "Image",
    "KeyPair",
    "Instance",
];

async fn kubectl<const N: usize>(args: [&str; N]) -> Output {
    lab().kubectl(args).await.unwrap()
}

async fn stdout<const N: usize>(args: [&str; N]) -> String {
    kubectl(args).await.checked().unwrap().stdout
}

/// A namespace of a test's own.
async fn namespace(name: &str) {
    kubectl(["create", "namespace", name])
        .await
        .checked()
        .unwrap();
}

/// A good object under another name, in a test's namespace where it has one.
fn object(kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = good(kind);
    object["metadata"] = json!({"name": name});
    if matches!(
        kind,
        "Network" | "Image" | "KeyPair" | "Instance" | "Domain" | "Segment"
    ) {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

/// One manifest with an object of each kind.
fn manifest(namespace: &str) -> String {
    let items: Vec<_> = KINDS
        .iter()
        .map(|kind| object(kind, namespace, namespace))
        .collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// Writes a status as the controllers do, by a merge patch.
async fn report(kind: &str, namespace: &str, name: &str, status: Value) {
    let client = Asker(lab().client().await.unwrap());
    let path = format!("{}/{name}/status", collection(kind, namespace));
    client
        .patch(&path, &json!({"status": status}))
        .await
        .unwrap();
}

fn condition(kind: &str, status: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "Test", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

/// What an Instance's status is when it runs.
fn running() -> Value {
    json!({
        "observedGeneration": 1, "uuid": "u1", "nodeName": "node-1", "addresses": "10.0.0.5", "powerState": "Running",
        "claim": {"flavor": "small", "vcpus": 1, "memory": "256Mi", "disk": "1Gi"},
        "interfaces": [{"name": "eth0", "network": "blue", "networkUid": "u2", "mac": "fa:16:3e:00:00:01",
            "ips": [{"ip": "10.0.0.5", "prefixLength": 24}], "segment": {"type": "local", "mtu": 1500}}],
        "conditions": [condition("Ready", "True", "")],
    })
}

#[tokio::test]
async fn b59_apply_of_an_unchanged_file_changes_nothing() {
    namespace("twice").await;
    let manifest = manifest("twice");
    let apply = || async {
        lab()
            .apply(&manifest)
            .await
            .unwrap()
            .checked()
            .unwrap()
            .stdout
    };
    let first = apply().await;
    assert_eq!(first.matches(" created").count(), KINDS.len(), "{first}");
    report("Instance", "twice", "twice", running()).await;
    let finalizer = r#"{"metadata":{"finalizers":["kilonova.dev/instance"]}}"#;
    kubectl([
        "patch",
        "inst",
        "twice",
        "-n",
        "twice",
        "--type=merge",
        "-p",
        finalizer,
    ])
    .await
    .checked()
    .unwrap();

    let second = apply().await;
    assert_eq!(
        second.matches(" unchanged").count(),
        KINDS.len(),
        "{second}"
    );
    let diff = lab()
        .kubectl_with(["diff", "-f", "-"], &manifest)
        .await
        .unwrap();
    assert!(diff.success() && diff.stdout.is_empty(), "{diff:?}");
    let instance = stdout([
        "get",
        "inst",
        "twice",
        "-n",
        "twice",
        "-o",
        "jsonpath={.metadata.generation}",
    ])
    .await;
    assert_eq!(instance, "1");
}

#[tokio::test]
async fn the_examples_are_taken_as_they_are() {
    for (directory, objects) in [("quickstart", 6), ("networks", 6)] {
        let examples = repo::root().join("examples").join(directory);
        let path = examples.to_str().unwrap();
        let args = ["apply", "--dry-run=server", "--recursive", "-f", path];
        let taken = kubectl(args).await.checked().unwrap();
        assert!(taken.stdout.lines().count() >= objects, "{taken:?}");
        assert!(!taken.stderr.contains("Warning"), "{taken:?}");
    }
}

#[tokio::test]
async fn b59_another_manager_applies_beside_us() {
    namespace("beside").await;
    let manifest = object("Instance", "beside", "beside").to_string();
    let apply = || async {
        let args = [
            "apply",
            "--server-side",
            "--field-manager=argocd",
            "-f",
            "-",
        ];
        lab()
            .kubectl_with(args, &manifest)
            .await
            .unwrap()
            .checked()
            .unwrap();
        stdout([
            "get",
            "inst",
            "beside",
            "-n",
            "beside",
            "-o",
            "jsonpath={.metadata.generation} {.status.nodeName}",
        ])
        .await
    };
    assert_eq!(apply().await, "1 ");
    report("Instance", "beside", "beside", running()).await;
    assert_eq!(apply().await, "1 node-1");
}

#[tokio::test]
async fn b61_a_dry_run_creates_nothing() {
    namespace("dry").await;
    let manifest = manifest("dry");
    for mode in ["--dry-run=client", "--dry-run=server"] {
        lab()
            .kubectl_with(["apply", mode, "-f", "-"], &manifest)
            .await
            .unwrap()
            .checked()
            .unwrap();
    }
    let left = stdout([
        "get",
        "kilonova",
        "-A",
        "-o",
        "name",
        "--field-selector=metadata.name=dry",
    ])
    .await;
    assert_eq!(left, "");
}

#[tokio::test]
async fn b61_unknown_fields_are_refused_or_warned_about() {
    namespace("strict").await;
    let mut unknown = object("Instance", "strict", "strict");
    unknown["spec"]["cores"] = json!(4);
    let strict = lab().apply(&unknown.to_string()).await.unwrap();
    assert!(
        !strict.success() && strict.stderr.contains("unknown field \"spec.cores\""),
        "{strict:?}"
    );
    let args = ["apply", "--validate=warn", "-f", "-"];
    let warned = lab()
        .kubectl_with(args, &unknown.to_string())
        .await
        .unwrap()
        .checked()
        .unwrap();
    assert!(
        warned
            .stderr
            .contains("Warning: unknown field \"spec.cores\""),
        "{warned:?}"
    );
    assert!(
        !stdout(["get", "inst", "strict", "-n", "strict", "-o", "yaml"])
            .await
            .contains("cores: 4"),
        "it is not kept"
    );
}

#[tokio::test]
async fn b60_get_shows_what_people_look_for() {
    namespace("columns").await;
    lab()
        .apply(&manifest("columns"))
        .await
        .unwrap()
        .checked()
        .unwrap();
    report("Instance", "columns", "columns", running()).await;
    lab()
        .apply(&object("Instance", "columns", "waits").to_string())
        .await
        .unwrap()
        .checked()
        .unwrap();
    let why = "0/3 hypervisors: 2 too little memory, 1 cordoned";
    report(
        "Instance",
        "columns",
        "waits",
        json!({"conditions": [condition("Ready", "False", why)]}),
    )
    .await;

    let instances = stdout(["get", "inst", "-n", "columns"]).await;
    assert_eq!(
        cells(&instances, 0),
        [
            "NAME",
            "POWER",
            "READY",
            "ADDRESSES",
            "NODE",
            "FLAVOR",
            "IMAGE",
            "AGE"
        ]
    );
    assert_eq!(
        cells(&instances, 1)[..7],
        [
            "columns",
            "Running",
            "True",
            "10.0.0.5",
            "node-1",
            "small",
            "debian-12"
        ]
    );
    assert_eq!(
        cells(&instances, 2)[..4],
        ["waits", "False", "small", "debian-12"]
    );
    let wide = stdout(["get", "inst", "-n", "columns", "-o", "wide"]).await;
    assert!(
        wide.lines().next().unwrap().ends_with("REASON")
            && wide.lines().nth(2).unwrap().trim_end().ends_with(why),
        "{wide}"
    );

    for (resource, header) in [
        ("flavors", "NAME VCPUS MEMORY DISK AGE"),
        ("netclass", "NAME TYPE PHYSICAL NETWORK IDS MTU AGE"),
        ("cimg", "NAME FORMAT SIZE READY AGE REASON"),
        ("img", "NAME FORMAT SIZE READY AGE REASON"),
        (
            "hv",
            "NAME READY CORDONED VCPUS MEMORY DISK VIRT AGE SHARE VCPUS SHARE MEMORY SHARE DISK LIBVIRT QEMU REASON",
        ),
        ("networks", "NAME CLASS CIDR READY SEGMENT AGE REASON"),
        ("kp", "NAME FINGERPRINT AGE"),
    ] {
        let table = stdout(["get", resource, "-n", "columns", "-o", "wide"]).await;
        assert_eq!(cells(&table, 0).join(" "), header);
    }
    let by_node = [
        "get",
        "inst",
        "-n",
        "columns",
        "-o",
        "name",
        "--field-selector=status.nodeName=node-1",
    ];
    assert_eq!(
        stdout(by_node).await.trim(),
        "instance.kilonova.dev/columns"
    );
    let all = stdout(["get", "all", "-n", "columns", "-o", "name"]).await;
    assert!(all.contains("instance.kilonova.dev/waits"), "{all}");
}

fn cells(table: &str, line: usize) -> Vec<&str> {
    table
        .lines()
        .nth(line)
        .unwrap_or_default()
        .split_whitespace()
        .collect()
}

#[tokio::test]
async fn b60_wait_ends_when_it_is_ready_and_not_before() {
    namespace("waiting").await;
    lab()
        .apply(&object("Instance", "waiting", "waiting").to_string())
        .await
        .unwrap()
        .checked()
        .unwrap();
    let wait = |timeout| {
        kubectl([
            "wait",
            "--for=condition=Ready",
            "inst/waiting",
            "-n",
            "waiting",
            timeout,
        ])
    };
    let early = wait("--timeout=1s").await;
    assert!(
        !early.success() && early.stderr.contains("timed out"),
        "{early:?}"
    );
    // True of an older generation is not Ready yet: kubectl compares.
    let mut stale = running();
    stale["conditions"][0]["observedGeneration"] = json!(0);
    report("Instance", "waiting", "waiting", stale).await;
    assert!(!wait("--timeout=1s").await.success());
    let mut ready = running();
    ready["conditions"][0]["observedGeneration"] = json!(1);
    report("Instance", "waiting", "waiting", ready).await;
    wait("--timeout=60s").await.checked().unwrap();
}

#[tokio::test]
async fn b60_explain_has_a_sentence_for_every_field() {
    let text = stdout(["explain", "inst.spec.terminationGracePeriodSeconds"]).await;
    assert!(
        text.contains("How long a guest may take to shut down"),
        "{text}"
    );
    // kubectl explain reads this document.
    let client = Asker(lab().client().await.unwrap());
    let mut seen = 0;
    let mut silent = Vec::new();
    for group in ["kilonova.dev", "node.kilonova.dev"] {
        let document = client
            .get(&format!("/openapi/v3/apis/{group}/v1alpha1"))
            .await
            .unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for (name, schema) in schemas
            .iter()
            .filter(|(name, _)| name.starts_with("dev.kilonova"))
        {
            walk(schema, name, &mut seen, &mut silent);
        }
    }
    assert!(seen > 250, "the schemas are there: {seen} fields");
    assert!(silent.is_empty(), "fields without a sentence: {silent:#?}");
}

fn walk(schema: &Value, at: &str, seen: &mut usize, silent: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        *seen += 1;
        if field["description"]
            .as_str()
            .is_none_or(|text| text.trim().is_empty())
        {
            silent.push(at.clone());
        }
        walk(field, &at, seen, silent);
    }
    if !schema["items"].is_null() {
        walk(&schema["items"], at, seen, silent);
    }
}

/// A short name that two resources have gives people the wrong one.
#[tokio::test]
async fn names_clash_with_nothing() {
    let client = Asker(lab().client().await.unwrap());
    let groups = client.get("/apis").await.unwrap();
    let preferred = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| &group["preferredVersion"]["groupVersion"]);
    let paths = preferred.map(|version| format!("/apis/{}", version.as_str().unwrap()));
    let mut owners: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut ours = BTreeSet::new();
    for path in paths.chain(["/api/v1".to_owned()]) {
        let list = client.get(&path).await.unwrap();
        for resource in list["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            if name.contains('/') {
                continue;
            }
            let short = resource["shortNames"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            for word in short.chain([name, resource["singularName"].as_str().unwrap()]) {
                owners
                    .entry(word.to_owned())
                    .or_default()
                    .insert(format!("{path}/{name}"));
                if path.contains("kilonova") {
                    ours.insert(word.to_owned());
                }
            }
        }
    }
    for word in [
        "inst", "hv", "img", "cimg", "kp", "netclass", "dom", "seg", "instance", "networks",
    ] {
        assert!(ours.contains(word), "{word} is missing: {ours:?}");
    }
    let clashes: Vec<_> = ours.iter().filter(|word| owners[*word].len() > 1).collect();
    assert!(clashes.is_empty(), "{clashes:?}");
}
