//! Domain: what one node must have for an instance, with everything resolved.

use crate::v1alpha1::{BoundAddress, ImageFormat, ImageKind, Power, PowerState, RestartPolicy};
use crate::{Condition, Quantity, schema};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One domain that a node must have. Named by the Instance's uid.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "node.kilonova.dev",
    version = "v1alpha1",
    kind = "Domain",
    namespaced,
    shortname = "dom",
    status = "DomainStatus",
    derive = "PartialEq",
    category = "kilonova-node",
    doc = "What one node must have for an Instance; written by the controllers, its status by the node's agent.",
    printcolumn(name = "Instance", type_ = "string", json_path = ".spec.instance.name"),
    printcolumn(
        name = "Namespace",
        type_ = "string",
        json_path = ".spec.instance.namespace"
    ),
    printcolumn(
        name = "Disposition",
        type_ = "string",
        json_path = ".spec.disposition"
    ),
    printcolumn(name = "Power", type_ = "string", json_path = ".status.powerState"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.outcome"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
pub struct DomainSpec {
    /// The Instance that it is of.
    pub instance: DomainInstance,
    /// UUID of the libvirt domain, of SMBIOS, and the guest's instance-id.
    pub uuid: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory.
    pub memory: Quantity,
    /// Root disk.
    pub disk: Quantity,
    /// What the root disk is made from.
    pub image: DomainImage,
    /// Whether a root disk that is missing may be made.
    pub root_disk: RootDisk,
    /// The ports, in the guest's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<DomainPort>,
    /// What the guest is told at its first boot.
    pub guest: DomainGuest,
    /// The wanted power state.
    pub power: Power,
    /// Whether a guest that stops by itself is started again.
    pub restart_policy: RestartPolicy,
    /// How long the guest may take to shut down, in seconds.
    pub termination_grace_period_seconds: u32,
    /// Whether it is to be there at all.
    pub disposition: Disposition,
    /// True when its node was declared gone: to be unplugged before anything else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forfeited: bool,
}

/// The Instance of a Domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainInstance {
    /// Its namespace.
    pub namespace: String,
    /// That namespace's uid.
    pub namespace_uid: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What a root disk is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainImage {
    /// Who named its address: an operator's (`ClusterImage`) may be one that a tenant's may not.
    #[serde(default)]
    pub kind: ImageKind,
    /// Where the bytes are.
    pub url: String,
    /// `sha256:` or `sha512:` and the digits.
    pub checksum: String,
    /// Their format.
    pub format: ImageFormat,
    /// Size of the disk that a guest sees.
    pub virtual_size: Quantity,
}

/// Whether a root disk that is missing may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RootDisk {
    /// It may: it never was.
    Create,
    /// It may not: it was, and data would be lost without a word.
    Existing,
}

/// A port of a Domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainPort {
    /// The interface's name in the Instance.
    pub name: String,
    /// Its MAC.
    pub mac: String,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<BoundAddress>,
    /// The Segment that it is plugged into: its Network's uid.
    pub segment: String,
}

/// What the guest is told at its first boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainGuest {
    /// Its hostname.
    pub hostname: String,
    /// The public keys that it lets in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_keys: Vec<String>,
    /// What it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// The Secret in this namespace that has what it runs, under the key `userData`, until the
    /// node has taken it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data_secret: Option<String>,
}

/// Whether a Domain is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Disposition {
    /// Be there.
    Run,
    /// Shut down, unplug, undefine; keep the disk.
    Release,
    /// Shut down and remove everything.
    Purge,
}

/// What the agent observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainStatus {
    /// The `metadata.generation` that this status is of; -1 before the first.
    #[serde(default)]
    pub observed_generation: i64,
    /// The observed power state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_state: Option<PowerState>,
    /// How far it came; absent while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why, in one `PascalCase` word for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, in a sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// True once the root disk was made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disk_created: bool,
    /// Trouble with an image or a Segment (`ImageReady`, `NetworkReady`), where there is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// How far a Domain came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// What is observed is what is declared, whatever the power state.
    Running,
    /// Undefined and unplugged, the disk kept.
    Released,
    /// Nothing of it is left.
    Purged,
    /// The node has less than the scheduler thought; nothing was made. Final for this object.
    Refused,
}
