//! Segment: one Network as one node must realise it.

use crate::v1alpha1::{Route, SegmentType};
use crate::{Condition, schema};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One Network as a node must realise it. Named by the Network's uid.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "node.kilonova.dev",
    version = "v1alpha1",
    kind = "Segment",
    namespaced,
    shortname = "seg",
    status = "SegmentObserved",
    derive = "PartialEq",
    category = "kilonova-node",
    doc = "One Network as one node must realise it; written by the controllers, its status by the node's agent.",
    printcolumn(name = "Network", type_ = "string", json_path = ".spec.network.name"),
    printcolumn(
        name = "Namespace",
        type_ = "string",
        json_path = ".spec.network.namespace"
    ),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "ID", type_ = "integer", json_path = ".spec.id"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
pub struct SegmentSpec {
    /// The Network that it is of.
    pub network: SegmentNetwork,
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
    /// Whether the node is a gateway of it outwards.
    pub routed: bool,
    /// Whether guests get their addresses by DHCP.
    pub dhcp: bool,
    /// MAC of the gateway, the same on every node.
    pub gateway_mac: String,
    /// The subnets.
    pub subnets: Vec<SegmentSubnet>,
}

/// The Network of a Segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SegmentNetwork {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A subnet, with its defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SegmentSubnet {
    /// Network address and prefix length.
    pub cidr: String,
    /// The router that guests are told of: the node, where it is a gateway outwards, else one in
    /// the segment; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// DNS servers that guests are told of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Routes beside the default one that guests are told of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// What the agent observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SegmentObserved {
    /// The `metadata.generation` that this status is of.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is wrong, where something is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
