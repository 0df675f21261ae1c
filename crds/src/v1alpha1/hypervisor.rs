//! Hypervisor: a node that runs instances.

use crate::{Condition, Quantity, schema};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BoundSegment, VirtualizationType};

/// A node that runs instances; made by its agent, of the Node's name. The spec is the operator's.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "kilonova.dev",
    version = "v1alpha1",
    kind = "Hypervisor",
    shortname = "hv",
    status = "HypervisorStatus",
    derive = "PartialEq",
    category = "kilonova",
    doc = "A node that runs instances; made by the agent on the Node of the same name.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Cordoned",
        type_ = "string",
        json_path = r#".status.conditions[?(@.reason=="Cordoned")].status"#
    ),
    printcolumn(
        name = "VCPUs",
        type_ = "integer",
        json_path = ".status.capacity.vcpus"
    ),
    printcolumn(
        name = "Memory",
        type_ = "string",
        json_path = ".status.capacity.memory"
    ),
    printcolumn(name = "Disk", type_ = "string", json_path = ".status.capacity.disk"),
    printcolumn(
        name = "Virt",
        type_ = "string",
        json_path = ".status.virtualizationTypes[*]"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Share VCPUs",
        type_ = "integer",
        json_path = ".status.share.vcpus",
        priority = 1
    ),
    printcolumn(
        name = "Share Memory",
        type_ = "string",
        json_path = ".status.share.memory",
        priority = 1
    ),
    printcolumn(
        name = "Share Disk",
        type_ = "string",
        json_path = ".status.share.disk",
        priority = 1
    ),
    printcolumn(
        name = "Libvirt",
        type_ = "string",
        json_path = ".status.versions.libvirt",
        priority = 1
    ),
    printcolumn(
        name = "QEMU",
        type_ = "string",
        json_path = ".status.versions.qemu",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
pub struct HypervisorSpec {
    /// True: nothing new comes here; what is here stays (Nova's disabled service).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unschedulable: Option<bool>,
    /// How far more is promised than is there; the controllers' defaults where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overcommit: Option<Overcommit>,
    /// What is kept for the node itself; the controllers' defaults where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Reserved>,
}

/// How far more is promised than is there, as decimal numbers: `"4.0"`. Nova's allocation ratios.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overcommit {
    /// Virtual CPUs for each CPU of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]{1,3}([.][0-9]{1,3})?$') && double(self) > 0.0").message("an overcommit ratio is a decimal number above 0, such as \"4.0\""))]
    pub cpu: Option<String>,
    /// Memory promised for each byte of the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]{1,3}([.][0-9]{1,3})?$') && double(self) > 0.0").message("an overcommit ratio is a decimal number above 0, such as \"1.0\""))]
    pub memory: Option<String>,
    /// Disk promised for each byte of the state directory's file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]{1,3}([.][0-9]{1,3})?$') && double(self) > 0.0").message("an overcommit ratio is a decimal number above 0, such as \"1.0\""))]
    pub disk: Option<String>,
}

/// What is kept for the node itself.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reserved {
    /// CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4096))]
    pub vcpus: Option<u32>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("quantity(string(self)).compareTo(quantity('0')) >= 0 && quantity(string(self)).compareTo(quantity('64Ti')) <= 0").message("reserved memory is between 0 and 64Ti"))]
    pub memory: Option<Quantity>,
    /// Disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("quantity(string(self)).compareTo(quantity('0')) >= 0 && quantity(string(self)).compareTo(quantity('64Pi')) <= 0").message("reserved disk is between 0 and 64Pi"))]
    pub disk: Option<Quantity>,
}

/// What the agent reports of its node, and two conditions of the controllers' (`Ready`, `InUse`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HypervisorStatus {
    /// The `metadata.generation` that the agent last saw; -1 before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What the node has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
    /// What domains that are not this cluster's use of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<Capacity>,
    /// The part of the node that instances may use; the rest is the pods'. Absent: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// The node's CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// The node's architecture, as `uname -m` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// QEMU's machine types that guests may have here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machine_types: Vec<String>,
    /// How the node runs guests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub virtualization_types: Vec<VirtualizationType>,
    /// The physical networks that the node has a usable NIC in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub physical_networks: Vec<String>,
    /// Those NICs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["physicalNetwork"]))]
    pub nics: Vec<Nic>,
    /// Versions of what runs guests here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<Versions>,
    /// Domains of this cluster that no Domain object names: held, and not touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<Orphan>,
    /// `Ready` and `InUse` (the controllers'), and one for each thing that the node lacks (the agent's).
    #[serde(default)]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// An amount of each resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// CPUs.
    pub vcpus: u32,
    /// Memory.
    pub memory: Quantity,
    /// Disk of the state directory's file system.
    pub disk: Quantity,
}

/// A part of a node; all of what is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Disk of the state directory's file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Quantity>,
}

/// A node's CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// The model that libvirt found nearest.
    pub model: String,
    /// Its maker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
}

/// A NIC of a node that is in a physical network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Nic {
    /// The physical network.
    pub physical_network: String,
    /// The NIC's name on the node.
    pub name: String,
    /// Largest packet that it carries, in bytes.
    pub mtu: u32,
}

/// Versions of what runs guests on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    /// The agent.
    pub agent: String,
    /// libvirt's daemon.
    pub libvirt: String,
    /// QEMU.
    pub qemu: String,
    /// The kernel.
    pub kernel: String,
}

/// A domain of this cluster that no Domain object names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Orphan {
    /// The libvirt domain's UUID.
    pub uuid: String,
    /// Namespace of its Instance.
    pub namespace: String,
    /// That namespace's uid.
    pub namespace_uid: String,
    /// Name of its Instance.
    pub name: String,
    /// The Instance's uid.
    pub uid: String,
    /// What it occupies.
    pub claim: Capacity,
    /// The ports that it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<OrphanPort>,
}

/// A port of an orphan: its addresses are not free.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrphanPort {
    /// Its Network's uid.
    pub network_uid: String,
    /// Its MAC.
    pub mac: String,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// The segment behind it, where the node remembers it: its id is not free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<BoundSegment>,
}
