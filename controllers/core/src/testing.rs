//! Objects for tests, as short as they can be.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use crate::binding::{ImageView, Inputs};
use crate::compile::domain_spec;
use crate::images::{Header, image_status};
use crate::networks::network_status;
use crate::segments::Segments;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::names::INSTANCE_FINALIZER;
use kilonova_crds::node::Domain;
use kilonova_crds::v1alpha1::{
    Flavor, Hypervisor, Image, ImageFormat, Instance, KeyPair, Network, NetworkClass,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub fn parse<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A hypervisor with nothing reserved and no overcommit; memory and disk in GiB.
pub fn hypervisor(name: &str, vcpus: u32, memory: u32, disk: u32) -> Hypervisor {
    parse(json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Hypervisor",
        "metadata": {"name": name},
        "spec": {"overcommit": {"cpu": "1"}, "reserved": {"memory": "0"}},
        "status": {
            "capacity": {"vcpus": vcpus, "memory": format!("{memory}Gi"), "disk": format!("{disk}Gi")},
            "architecture": "x86_64", "virtualizationTypes": ["qemu"],
        },
    }))
}

pub fn node(name: &str, labels: &Value, taints: &Value) -> Node {
    parse(json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}}))
}

/// An Instance of the namespace `shop` with our finalizer; its uid is `uid-NAME`.
pub fn instance(name: &str, spec: Value) -> Instance {
    let mut all = json!({"flavor": "small", "image": {"kind": "Image", "name": "debian"}});
    merge(&mut all, spec);
    parse(json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Instance",
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "generation": 1,
            "finalizers": [INSTANCE_FINALIZER],
        },
        "spec": all,
    }))
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

pub fn labelled(mut instance: Instance, labels: Value) -> Instance {
    instance.metadata.labels = parse(labels);
    instance
}

/// A Network of the namespace `shop` that is ready; its uid is `net-NAME`.
pub fn network(name: &str, cidr: &str) -> Network {
    let mut network: Network = parse(json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Network",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("net-{name}"), "generation": 1},
        "spec": {"class": "tenants", "subnets": [{"cidr": cidr}]},
    }));
    let class: NetworkClass = parse(json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "NetworkClass",
        "metadata": {"name": "tenants"}, "spec": {"type": "local"},
    }));
    let assign = || Segments::default().assign(&network, Some(&class), &BTreeMap::new(), true);
    let status = network_status(&network, assign, false, Timestamp::UNIX_EPOCH);
    network.status = Some(status);
    network
}

/// Everything that the tests' Instances name.
pub struct Objects {
    pub flavor: Flavor,
    pub image: Image,
    pub networks: Vec<Network>,
    pub key_pairs: Vec<KeyPair>,
}

impl Objects {
    /// A Flavor of 1 vcpu, 1 GiB, 10 GiB; an image of 1 GiB; a network `blue`.
    pub fn new() -> Self {
        let mut image: Image = parse(json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": "Image",
            "metadata": {"name": "debian", "namespace": "shop"},
            "spec": {"source": {"http": {"url": "http://x/d", "checksum": "sha256:00"}}, "format": "raw"},
        }));
        let header = Header::Read {
            format: ImageFormat::Raw,
            virtual_size: 1 << 30,
        };
        let read = image_status(&image.spec, 1, None, Some(&header), Timestamp::UNIX_EPOCH);
        image.status = Some(read);
        Self {
            flavor: parse(json!({
                "apiVersion": "kilonova.dev/v1alpha1", "kind": "Flavor",
                "metadata": {"name": "small"},
                "spec": {"vcpus": 1, "memory": "1Gi", "disk": "10Gi"},
            })),
            image,
            networks: vec![network("blue", "10.0.0.0/24")],
            key_pairs: Vec::new(),
        }
    }

    pub fn inputs<'a>(&'a self, instance: &'a Instance) -> Inputs<'a> {
        let networks = self.networks.iter();
        let key_pairs = self.key_pairs.iter();
        Inputs {
            instance,
            flavor: Some(&self.flavor),
            image: Some(ImageView::from(&self.image)),
            networks: networks
                .map(|n| (n.metadata.name.as_deref().unwrap(), n))
                .collect(),
            key_pairs: key_pairs
                .map(|k| (k.metadata.name.as_deref().unwrap(), k))
                .collect::<BTreeMap<_, _>>(),
            refused: BTreeSet::new(),
        }
    }
}

/// The Instance bound to `node`, with the room of the tests' Flavor and an address.
pub fn bound(name: &str, node: &str, spec: Value) -> Instance {
    let mut instance = instance(name, spec);
    instance.status = Some(parse(json!({
        "observedGeneration": 1, "uuid": format!("uid-{name}"), "nodeName": node,
        "claim": {"flavor": "small", "vcpus": 1, "memory": "1Gi", "disk": "10Gi"},
        "image": {"url": "http://x/d", "checksum": "sha256:00", "format": "raw", "virtualSize": "1Gi"},
        "addresses": "10.0.0.2",
        "interfaces": [{
            "name": "eth0", "network": "blue", "networkUid": "net-blue", "mac": "fa:16:3e:00:00:01",
            "ips": [{"ip": "10.0.0.2", "prefixLength": 24, "gateway": "10.0.0.1"}],
            "segment": {"type": "local", "mtu": 1500},
        }],
        "publicKeys": ["ssh-ed25519 AAAA ops"],
    })));
    instance
}

/// The Domain that a bound Instance compiles to, of generation 1, without a status.
pub fn domain_of(instance: &Instance) -> Domain {
    let spec = domain_spec(instance, "ns").unwrap();
    let mut domain = Domain::new(&spec.instance.uid.clone(), spec);
    domain.metadata.generation = Some(1);
    domain
}
