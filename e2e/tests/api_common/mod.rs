//! What the tests of the API share: one control plane a program (no controllers, no nodes: nothing answers but the API
//! server), plain requests to it, and a good object of each kind.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{sync::OnceLock, thread};

use axum::http::Request;
use kilonova_crds::{
    ClusterImage, Domain, Flavor, Hypervisor, Image, Instance, KeyPair, Network, NetworkClass,
    Segment,
};
use kilonova_e2e::lab::{Lab, LabOptions};
use kube::{Client, Resource};
use serde_json::{Value, json};

/// The control plane that the tests of this program share. It ends with the program.
pub fn lab() -> &'static Lab {
    static LAB: OnceLock<Option<Lab>> = OnceLock::new();
    shared(&LAB, || async {
        let options = LabOptions::new("api").controllers(0);
        Lab::start(options).await.unwrap()
    })
}

/// What the tests of this program share, made by the first that asks for it. Where that failed, the
/// others fail at once.
pub fn shared<T: Send + Sync, F: Future<Output = T>>(
    cell: &'static OnceLock<Option<T>>,
    make: impl FnOnce() -> F + Send,
) -> &'static T {
    let first = cell.get_or_init(|| {
        // On a thread of its own: the test that comes here is inside a runtime already.
        let work = || tokio::runtime::Runtime::new().unwrap().block_on(make());
        thread::scope(|scope| scope.spawn(work).join().ok())
    });
    let Some(shared) = first else {
        panic!("what the tests share could not be made: see the first failure");
    };
    shared
}

/// Why the API server said no: HTTP status and its sentence.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub code: u16,
    pub message: String,
}

/// Somebody who asks the API server for something.
pub struct Asker(pub Client);

impl Asker {
    pub async fn get(&self, path: &str) -> Result<Value, Refusal> {
        self.ask("GET", path, Vec::new()).await
    }
    pub async fn delete(&self, path: &str) -> Result<Value, Refusal> {
        self.ask("DELETE", path, Vec::new()).await
    }
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        self.ask("POST", path, body.to_string().into_bytes()).await
    }
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        self.ask("PUT", path, body.to_string().into_bytes()).await
    }
    /// A merge patch, or an apply where the path has a field manager.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        self.ask("PATCH", path, body.to_string().into_bytes()).await
    }

    async fn ask(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Value, Refusal> {
        let content = match method {
            "PATCH" if path.contains("fieldManager=") => "application/apply-patch+yaml",
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", content);
        match self.0.request::<Value>(request.body(body).unwrap()).await {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(status)) => Err(Refusal {
                code: status.code,
                message: status.message,
            }),
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }
}

/// What an answer must be.
pub trait Answer {
    /// A refusal with this HTTP status that says this.
    fn refused(self, code: u16, says: &str);
    /// RBAC says no: nobody looks at what was to be written.
    fn no_right(self);
}

impl Answer for Result<Value, Refusal> {
    #[track_caller]
    fn refused(self, code: u16, says: &str) {
        match self {
            Err(refusal) if refusal.code == code && refusal.message.contains(says) => {}
            other => panic!("must be refused ({code} {says}); the answer was {other:?}"),
        }
    }
    #[track_caller]
    fn no_right(self) {
        self.refused(403, " cannot ");
    }
}

/// Where the objects of a kind are; `namespace` counts only where the kind has one.
pub fn collection(kind: &str, namespace: &str) -> String {
    fn path<K: Resource<DynamicType = ()>>(namespace: Option<&str>) -> String {
        K::url_path(&(), namespace)
    }
    match kind {
        "Flavor" => path::<Flavor>(None),
        "NetworkClass" => path::<NetworkClass>(None),
        "ClusterImage" => path::<ClusterImage>(None),
        "Hypervisor" => path::<Hypervisor>(None),
        "Network" => path::<Network>(Some(namespace)),
        "Image" => path::<Image>(Some(namespace)),
        "KeyPair" => path::<KeyPair>(Some(namespace)),
        "Instance" => path::<Instance>(Some(namespace)),
        "Domain" => path::<Domain>(Some(namespace)),
        "Segment" => path::<Segment>(Some(namespace)),
        other => panic!("no kind {other}"),
    }
}

/// A good object of each kind, with every part that a rule looks at.
pub fn good(kind: &str) -> Value {
    let (group, spec) = match kind {
        "Flavor" => (
            "kilonova.dev",
            json!({"vcpus": 1, "memory": "256Mi", "disk": "1Gi"}),
        ),
        "NetworkClass" => (
            "kilonova.dev",
            json!({
                "type": "vlan", "physicalNetwork": "physnet1", "ids": ["100-199", "250"], "mtu": 1500,
                "allowedNamespaces": {
                    "matchLabels": {"tier": "gold"},
                    "matchExpressions": [{"key": "team", "operator": "In", "values": ["infra"]}],
                },
            }),
        ),
        "Image" | "ClusterImage" => ("kilonova.dev", image()),
        "Hypervisor" => (
            "kilonova.dev",
            json!({"overcommit": {"cpu": "4.0"}, "reserved": {"memory": "512Mi"}}),
        ),
        "Network" => (
            "kilonova.dev",
            json!({"class": "local", "routed": true, "dhcp": true, "subnets": [subnet()]}),
        ),
        "KeyPair" => ("kilonova.dev", json!({"publicKey": PUBLIC_KEY})),
        "Instance" => ("kilonova.dev", instance()),
        "Domain" => ("node.kilonova.dev", domain()),
        "Segment" => ("node.kilonova.dev", segment()),
        other => panic!("no kind {other}"),
    };
    json!({"apiVersion": format!("{group}/v1alpha1"), "kind": kind, "metadata": {"name": "good"}, "spec": spec})
}

/// A public key; nobody has the private one.
pub const PUBLIC_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk4bW9ja2tleW1vY2trZXltb2Nra2V5bW9ja2tl ops@example";

pub fn subnet() -> Value {
    json!({"cidr": "10.0.0.0/24", "gateway": "10.0.0.1", "ranges": ["10.0.0.10-10.0.0.200", "10.0.0.9-10.0.0.9"],
        "dns": ["10.0.0.1"], "routes": [{"destination": "192.168.0.0/16", "nextHop": "10.0.0.254"}]})
}

pub fn checksum() -> String {
    format!("sha256:{}", "0a".repeat(32))
}

fn image() -> Value {
    json!({
        "source": {"http": {"url": "https://example.org/debian-12.qcow2", "checksum": checksum()}},
        "format": "qcow2",
        "requirements": {"minMemory": "64Mi", "minDisk": "100Mi", "architecture": "x86_64", "virtualizationType": "kvm"},
    })
}

fn instance() -> Value {
    let near = json!({"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"});
    let zone = json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]});
    json!({
        "flavor": "small", "image": {"kind": "ClusterImage", "name": "debian-12"},
        "power": "On", "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "hostname": "web",
        "interfaces": [{"name": "eth0", "network": "blue", "ips": ["10.0.0.5"], "mac": "fa:16:3e:00:00:01"}],
        "keyPairs": ["ops"], "userData": "#!/bin/sh\ntrue\n", "nodeSelector": {"disk": "fast"},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [zone]},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": zone}],
            },
            "instanceAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [near]},
            "instanceAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "instanceAffinityTerm": near}],
            },
        },
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "vms", "effect": "NoSchedule"}],
    })
}

fn domain() -> Value {
    json!({
        "instance": {"namespace": "shop", "namespaceUid": "u0", "name": "web", "uid": "u1"}, "uuid": "u1",
        "vcpus": 1, "memory": "64Mi", "disk": "1Gi", "rootDisk": "Create",
        "image": {"url": "http://example.org/a", "checksum": checksum(), "format": "qcow2", "virtualSize": "1Gi"},
        "guest": {"hostname": "web"}, "power": "On", "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30, "disposition": "Run",
    })
}

fn segment() -> Value {
    json!({
        "network": {"namespace": "shop", "name": "blue", "uid": "u2"}, "type": "local", "mtu": 1500, "routed": true,
        "dhcp": true, "gatewayMac": "fa:16:3e:00:00:02", "subnets": [{"cidr": "10.0.0.0/24", "gateway": "10.0.0.1"}],
    })
}

/// Applies a change to an object: a JSON merge patch (RFC 7386).
pub fn change(object: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let Value::Object(fields) = object else {
        return;
    };
    for (key, value) in changes {
        if value.is_null() {
            fields.remove(key);
        } else {
            change(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
