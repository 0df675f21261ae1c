//! NetworkClass: which segments exist.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a segment is realised on a node.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum SegmentType {
    /// A bridge without an uplink: neighbours on one node only.
    Local,
}

/// A kind of network that the operator offers to tenants.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "kilonova.dev",
    version = "v1alpha1",
    kind = "NetworkClass",
    plural = "networkclasses",
    shortname = "netclass",
    derive = "PartialEq",
    category = "kilonova",
    doc = "A kind of network that the operator offers to tenants.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("a NetworkClass's name has at most 63 characters"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "MTU", type_ = "integer", json_path = ".spec.mtu"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a NetworkClass is immutable: make another one"))]
pub struct NetworkClassSpec {
    /// How a segment is realised: `local` is a bridge without an uplink (neighbours on one node only).
    #[serde(rename = "type")]
    pub type_: SegmentType,
    /// Largest packet that the segments carry, in bytes, 576 to 9216; 1500 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 576, max = 9216))]
    pub mtu: Option<u32>,
}

impl NetworkClassSpec {
    /// The MTU where the operator named none.
    pub const DEFAULT_MTU: u32 = 1500;

    /// Largest packet, in bytes.
    #[must_use]
    pub fn mtu(&self) -> u32 {
        self.mtu.unwrap_or(Self::DEFAULT_MTU)
    }
}
