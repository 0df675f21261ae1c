//! What stands in every schedule: a namespace, a Network with few addresses, a Flavor, an image,
//! nodes with room for few; and how an Instance is written.

use crate::clock;
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kilonova_controllers::world::{NamespaceMeta, World};
use kilonova_controllers_core::images::{Header, image_status};
use kilonova_controllers_core::networks::network_status;
use kilonova_controllers_core::segments::Segments;
use kilonova_crds::names::{self, CLUSTER_ID_ANNOTATION, NODE_ANNOTATION, NODE_NAMESPACE_LABEL};
use kilonova_crds::v1alpha1::ImageFormat;
use kilonova_crds::{
    ClusterImage, Flavor, Hypervisor, Image, Instance, KeyPair, Network, NetworkClass,
};
use kube::core::PartialObjectMetaExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Id of the cluster.
pub const CLUSTER: &str = "cluster";
/// The tenant's namespace.
pub const NAMESPACE: &str = "shop";
/// Label of those that must not be together.
pub const GROUP: &str = "group";
/// One GiB.
pub const GIB: u64 = 1 << 30;
/// What an Instance takes of a node's memory.
pub const INSTANCE_MEMORY: u64 = GIB;
/// How many addresses the Network gives.
pub const ADDRESSES: usize = 5;
/// A node's disk: more than is ever needed.
pub const NODE_DISK: u64 = 1000 * GIB;

/// Objects that never change, and forms of those that do.
#[derive(Clone, Debug)]
pub struct Scene {
    network: Network,
    class: NetworkClass,
    flavor: Flavor,
    image: Image,
    namespaces: Vec<NamespaceMeta>,
    instance: Instance,
    hypervisor: Hypervisor,
}

/// Parsed once: the same for all schedules but for the nodes.
static FORMS: LazyLock<Scene> = LazyLock::new(Scene::parsed);

impl Scene {
    /// A scene with these nodes.
    #[must_use]
    pub fn new(nodes: &[String]) -> Self {
        let mut scene = FORMS.clone();
        scene.namespaces.extend(nodes.iter().map(|n| of_node(n)));
        scene
    }

    fn parsed() -> Self {
        let class: NetworkClass = form(json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": "NetworkClass",
            "metadata": {"name": "tenants", "resourceVersion": "1"}, "spec": {"type": "local"},
        }));
        let mut network: Network = form(json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": "Network",
            "metadata": {
                "name": "blue", "namespace": NAMESPACE, "generation": 1, "resourceVersion": "1",
                "uid": "00000000-0000-4000-9000-000000000001",
            },
            "spec": {"class": "tenants", "subnets": [{"cidr": "10.0.0.0/29"}]},
        }));
        let assign = || Segments::default().assign(&network, Some(&class), &BTreeMap::new());
        network.status = Some(network_status(&network, assign, false, clock::wall()));
        let mut image: Image = form(json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": "Image",
            "metadata": {"name": "debian", "namespace": NAMESPACE, "generation": 1, "resourceVersion": "1", "uid": "image"},
            "spec": {"source": {"http": {"url": "http://images/debian", "checksum": "sha256:00"}}, "format": "raw"},
        }));
        let header = Header::Read {
            format: ImageFormat::Raw,
            virtual_size: GIB,
        };
        let status = image_status(&image.spec, 1, None, Some(&header), clock::wall());
        image.status = Some(status);
        let shop = ObjectMeta {
            name: Some(NAMESPACE.to_owned()),
            uid: Some("namespace".to_owned()),
            resource_version: Some("1".to_owned()),
            ..ObjectMeta::default()
        };
        Self {
            network,
            class,
            flavor: form(json!({
                "apiVersion": "kilonova.dev/v1alpha1", "kind": "Flavor",
                "metadata": {"name": "small", "resourceVersion": "1"},
                "spec": {"vcpus": 1, "memory": "1Gi", "disk": "10Gi"},
            })),
            image,
            namespaces: vec![shop.into_response_partial::<Namespace>()],
            instance: form(json!({
                "apiVersion": "kilonova.dev/v1alpha1", "kind": "Instance",
                "metadata": {"name": "", "namespace": NAMESPACE},
                "spec": {
                    "flavor": "small", "image": {"kind": "Image", "name": "debian"},
                    "interfaces": [{"name": "eth0", "network": "blue"}],
                },
                "status": {"observedGeneration": -1},
            })),
            hypervisor: form(json!({
                "apiVersion": "kilonova.dev/v1alpha1", "kind": "Hypervisor",
                "metadata": {"name": ""},
                "spec": {"overcommit": {"cpu": "16.0"}, "reserved": {"memory": "0"}},
            })),
        }
    }

    /// Tells a leader of what never changes.
    pub fn tell(&self, world: &mut World) {
        // The first list of a kind cannot be older than one before it.
        let _ = world.replaced(self.namespaces.clone(), 1);
        let _ = world.replaced(vec![self.network.clone()], 1);
        let _ = world.replaced(vec![self.class.clone()], 1);
        let _ = world.replaced(vec![self.flavor.clone()], 1);
        let _ = world.replaced(vec![self.image.clone()], 1);
        let _ = world.replaced(Vec::<ClusterImage>::new(), 1);
        let _ = world.replaced(Vec::<KeyPair>::new(), 1);
    }

    /// An Instance as a tenant writes it; one of a group wants to be on a node alone of it.
    #[must_use]
    pub fn instance(&self, name: &str, group: Option<&str>) -> Instance {
        let mut instance = self.instance.clone();
        instance.metadata.name = Some(name.to_owned());
        if let Some(group) = group {
            let labels = BTreeMap::from([(GROUP.to_owned(), group.to_owned())]);
            instance.metadata.labels = Some(labels);
            instance.spec.affinity = Some(form(json!({"instanceAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{
                    "labelSelector": {"matchLabels": {GROUP: group}},
                    "topologyKey": "kubernetes.io/hostname",
                }],
            }})));
        }
        instance
    }

    /// A Hypervisor as its agent registers it.
    #[must_use]
    pub fn hypervisor(&self, name: &str) -> Hypervisor {
        let mut hypervisor = self.hypervisor.clone();
        hypervisor.metadata.name = Some(name.to_owned());
        hypervisor
    }
}

/// Kubernetes' Node of that name.
#[must_use]
pub fn node(name: &str) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..Node::default()
    }
}

fn of_node(node: &str) -> NamespaceMeta {
    let annotations = [(NODE_ANNOTATION, node), (CLUSTER_ID_ANNOTATION, CLUSTER)];
    let metadata = ObjectMeta {
        name: Some(names::node_namespace(node)),
        uid: Some(format!("namespace-of-{node}")),
        resource_version: Some("1".to_owned()),
        labels: Some([(NODE_NAMESPACE_LABEL.to_owned(), String::new())].into()),
        annotations: Some(
            annotations
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
        ),
        ..ObjectMeta::default()
    };
    metadata.into_response_partial::<Namespace>()
}

/// # Panics
/// Where a form of this file is none; each schedule reads them all.
fn form<T: DeserializeOwned>(value: Value) -> T {
    match serde_json::from_value(value) {
        Ok(object) => object,
        Err(error) => unreachable!("a form is no object: {error}"),
    }
}
