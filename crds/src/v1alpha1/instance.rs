//! Instance: the tenant's server.

use super::SegmentType;
use super::affinity::{Affinity, Toleration};
use super::image::ImageFormat;
use crate::{Condition, Quantity, schema};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the tenant wants.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "kilonova.dev",
    version = "v1alpha1",
    kind = "Instance",
    namespaced,
    shortname = "inst",
    status = "InstanceStatus",
    derive = "PartialEq",
    category = "kilonova",
    category = "all",
    doc = "A server of the tenant's.",
    selectable = ".status.nodeName",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')").message("an Instance's name is its hostname too: at most 63 characters, letters, digits and dashes, no dots"),
    printcolumn(name = "Power", type_ = "string", json_path = ".status.powerState"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Addresses", type_ = "string", json_path = ".status.addresses"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.nodeName"),
    printcolumn(name = "Flavor", type_ = "string", json_path = ".spec.flavor"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1)
)]
#[x_kube(validation = Rule::new("self.flavor == oldSelf.flavor").message("flavor is immutable: a running Instance is not resized").field_path(".flavor"))]
#[x_kube(validation = Rule::new("self.image == oldSelf.image").message("image is immutable: the root disk was made from it").field_path(".image"))]
#[x_kube(validation = Rule::new("has(self.interfaces) == has(oldSelf.interfaces) && (!has(self.interfaces) || (self.interfaces == oldSelf.interfaces && self.interfaces.map(i, i.name) == oldSelf.interfaces.map(i, i.name)))").message("interfaces are immutable: network, ips, mac and their order belong to the guest").field_path(".interfaces"))]
#[x_kube(validation = Rule::new("has(self.keyPairs) == has(oldSelf.keyPairs) && (!has(self.keyPairs) || self.keyPairs == oldSelf.keyPairs)").message("keyPairs are immutable: the guest was given them at its first boot").field_path(".keyPairs"))]
#[x_kube(validation = Rule::new("has(self.userData) == has(oldSelf.userData) && (!has(self.userData) || self.userData == oldSelf.userData)").message("userData is immutable: the guest was given it at its first boot").field_path(".userData"))]
#[x_kube(validation = Rule::new("has(self.userDataFrom) == has(oldSelf.userDataFrom) && (!has(self.userDataFrom) || self.userDataFrom == oldSelf.userDataFrom)").message("userDataFrom is immutable: the guest was given it at its first boot").field_path(".userDataFrom"))]
#[x_kube(validation = Rule::new("!has(self.userData) || !has(self.userDataFrom)").message("userData and userDataFrom exclude each other: the guest is given one").field_path(".userDataFrom"))]
#[x_kube(validation = Rule::new("has(self.hostname) == has(oldSelf.hostname) && (!has(self.hostname) || self.hostname == oldSelf.hostname)").message("hostname is immutable: the guest was given it at its first boot").field_path(".hostname"))]
pub struct InstanceSpec {
    /// Name of the Flavor: vCPUs, memory, root disk. Immutable.
    #[schemars(length(min = 1, max = 63))]
    pub flavor: String,
    /// What the root disk is made from. Immutable.
    pub image: ImageRef,
    /// The wanted power state: `"On"` (where absent), `"Off"`, `Paused` or `Suspended` (memory on
    /// disk). In quotes, because YAML takes On and Off for booleans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Power>,
    /// Whether a guest that stops by itself is started again: `Always` (where absent), `OnFailure`
    /// (when it crashed) or `Never`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// How long a guest may take to shut down before its power is cut, 0 to 3600; 30 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub termination_grace_period_seconds: Option<u32>,
    /// The guest's hostname, a DNS label; the Instance's name where absent. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("hostname is a DNS label: lower-case letters, digits and dashes, not at its ends"))]
    pub hostname: Option<String>,
    /// The interfaces, in the guest's order. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    #[x_kube(validation = Rule::new("self.all(i, !has(i.mac) || self.exists_one(j, has(j.mac) && j.mac == i.mac))").message("two interfaces have the same mac"))]
    #[x_kube(validation = Rule::new("self.all(i, !has(i.ips) || i.ips.all(a, self.exists_one(j, j.network == i.network && has(j.ips) && a in j.ips)))").message("two interfaces have the same address in one network"))]
    pub interfaces: Option<Vec<Interface>>,
    /// Names of the KeyPairs whose keys the guest lets in. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub key_pairs: Option<Vec<String>>,
    /// What the guest runs at its first boot (`#cloud-config`, a script), at most 16384 characters.
    /// Anyone who can read the Instance can read it: what is secret comes by `userDataFrom`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub user_data: Option<String>,
    /// Where `userData` comes from instead, where it is secret. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data_from: Option<UserDataSource>,
    /// True: it cannot be deleted, nor can its namespace, until this is false again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_protection: Option<bool>,
    /// Labels that the Node must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::labels")]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Where it may, or would rather, be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Taints of Nodes that it bears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub tolerations: Option<Vec<Toleration>>,
}

impl InstanceSpec {
    /// The grace period where the tenant named none, as a Pod's.
    pub const DEFAULT_GRACE_SECONDS: u32 = 30;

    /// The wanted power state.
    #[must_use]
    pub fn power(&self) -> Power {
        self.power.unwrap_or_default()
    }
    /// Whether a guest that stops is started again.
    #[must_use]
    pub fn restart_policy(&self) -> RestartPolicy {
        self.restart_policy.unwrap_or_default()
    }
    /// How long a guest may take to shut down, in seconds.
    #[must_use]
    pub fn grace_seconds(&self) -> u32 {
        self.termination_grace_period_seconds
            .unwrap_or(Self::DEFAULT_GRACE_SECONDS)
    }
    /// The interfaces, in the guest's order.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        self.interfaces.as_deref().unwrap_or_default()
    }
    /// Names of the KeyPairs.
    #[must_use]
    pub fn key_pairs(&self) -> &[String] {
        self.key_pairs.as_deref().unwrap_or_default()
    }
    /// The Secret that the user data is read from.
    #[must_use]
    pub fn user_data_secret(&self) -> Option<&SecretKeyRef> {
        self.user_data_from.as_ref().map(|s| &s.secret_key_ref)
    }
}

/// Where user data comes from.
#[derive(
    KubeSchema, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct UserDataSource {
    /// A key of a Secret in the Instance's namespace, at most 65536 bytes of any content. The guest
    /// is given what it holds when the Instance is bound; later changes do not reach it.
    pub secret_key_ref: SecretKeyRef,
}

/// A key of a Secret.
#[derive(
    KubeSchema, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message("a Secret's name has lower-case letters, digits, dashes and dots, not at its ends"))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9]+$')").message("a key of a Secret has letters, digits, dashes, dots and underscores"))]
    pub key: String,
}

/// Which kind of image.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum ImageKind {
    /// An Image of the Instance's own namespace.
    #[default]
    Image,
    /// An image of the operator's.
    ClusterImage,
}

/// An image by kind and name.
#[derive(
    KubeSchema, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct ImageRef {
    /// `Image` (of this namespace) or `ClusterImage` (the operator's).
    pub kind: ImageKind,
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// The wanted power state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Power {
    /// It runs.
    #[default]
    On,
    /// It is shut down.
    Off,
    /// Its CPUs are halted, its memory stays.
    Paused,
    /// Its memory is saved to disk, and comes back with `On`.
    Suspended,
}

/// Whether a guest that stops by itself is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RestartPolicy {
    /// However it stopped.
    #[default]
    Always,
    /// When it crashed.
    OnFailure,
    /// Never.
    Never,
}

/// The observed power state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PowerState {
    /// Its CPUs run.
    Running,
    /// Its CPUs are halted.
    Paused,
    /// It is off.
    Shutoff,
    /// It ended by a fault.
    Crashed,
    /// Its memory is on disk.
    Suspended,
    /// Its node does not answer.
    Unknown,
}

/// One interface of an Instance.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Its name in this Instance, a DNS label of at most 15 characters.
    #[schemars(length(min = 1, max = 15))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("an interface's name has lower-case letters, digits and dashes, not at its ends"))]
    pub name: String,
    /// Name of a Network of this namespace.
    #[schemars(length(min = 1, max = 63))]
    pub network: String,
    /// Fixed addresses, at most one of a family; absent: the next free one of each subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2), inner(length(max = 39)))]
    #[x_kube(validation = Rule::new("self.all(a, isIP(a))").message("ips has something that is not an IP address"))]
    #[x_kube(validation = Rule::new("self.size() < 2 || !self.all(a, isIP(a)) || ip(self[0]).family() != ip(self[1]).family()").message("an interface has at most one address of a family"))]
    pub ips: Option<Vec<String>>,
    /// Fixed MAC, unicast, in lower case with colons; absent: chosen once and kept for life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 17))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$') && self != '00:00:00:00:00:00'").message("mac is a unicast MAC address in lower case, such as fa:16:3e:00:00:01"))]
    pub mac: Option<String>,
}

/// What the controllers decided (the binding) and what was observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// The `metadata.generation` that this status is of; -1 before the first.
    #[serde(default)]
    pub observed_generation: i64,
    /// UUID of the libvirt domain, of SMBIOS, and the guest's instance-id: for life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The node that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The sizes that it has there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// What its root disk is made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<BoundImage>,
    /// Its addresses, with commas between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<String>,
    /// Its interfaces with what was chosen for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub interfaces: Vec<BoundInterface>,
    /// The public keys that the guest was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_keys: Vec<String>,
    /// The observed power state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_state: Option<PowerState>,
    /// `Ready`, `Scheduled`, `ImageReady`, `NetworkReady`, `UserDataReady` where there is
    /// `userDataFrom`, and `Stalled` when only a change of spec helps.
    #[serde(default)]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// The sizes that a bound Instance has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Name of the Flavor at the time.
    pub flavor: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory.
    pub memory: Quantity,
    /// Root disk.
    pub disk: Quantity,
}

/// What a root disk is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BoundImage {
    /// The kind that named it.
    #[serde(default)]
    pub kind: ImageKind,
    /// Where the bytes are.
    pub url: String,
    /// Their checksum.
    pub checksum: String,
    /// Their format.
    pub format: ImageFormat,
    /// Size of the disk that a guest sees.
    pub virtual_size: Quantity,
    /// True once the root disk was made: it is never made anew after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_created: Option<bool>,
}

/// An interface with what was chosen for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BoundInterface {
    /// Its name.
    pub name: String,
    /// Its Network.
    pub network: String,
    /// The Network's uid, which names its Segment on the node.
    pub network_uid: String,
    /// Its MAC.
    pub mac: String,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<BoundAddress>,
    /// The segment behind it.
    pub segment: BoundSegment,
}

/// An address with its subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BoundAddress {
    /// The address.
    pub ip: String,
    /// Its subnet's prefix length.
    pub prefix_length: u8,
    /// Its gateway; absent where the network is not routed and names no router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// The segment behind an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BoundSegment {
    /// How it is realised.
    #[serde(rename = "type")]
    pub type_: SegmentType,
    /// The VLAN's id, for `vlan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// The physical network that it is in, for `flat` and `vlan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_network: Option<String>,
    /// Largest packet, in bytes.
    pub mtu: u32,
}
