//! NetworkClass: which segments exist.

use super::affinity::LabelSelector;
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
    /// The untagged frames of a physical network.
    Flat,
    /// The frames of one 802.1Q VLAN of a physical network.
    Vlan,
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
    printcolumn(
        name = "Physical Network",
        type_ = "string",
        json_path = ".spec.physicalNetwork"
    ),
    printcolumn(name = "IDs", type_ = "string", json_path = ".spec.ids[*]"),
    printcolumn(name = "MTU", type_ = "integer", json_path = ".spec.mtu"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(validation = Rule::new("self.type == oldSelf.type && has(self.physicalNetwork) == has(oldSelf.physicalNetwork) && (!has(self.physicalNetwork) || self.physicalNetwork == oldSelf.physicalNetwork) && has(self.mtu) == has(oldSelf.mtu) && (!has(self.mtu) || self.mtu == oldSelf.mtu)").message("type, physicalNetwork and mtu are immutable: make another NetworkClass"))]
#[x_kube(validation = Rule::new("has(self.physicalNetwork) == (self.type != 'local')").message("physicalNetwork belongs to the types flat and vlan, which need one; local has none").field_path(".physicalNetwork"))]
#[x_kube(validation = Rule::new("has(self.ids) == (self.type == 'vlan')").message("ids belong to the type vlan, which needs some; flat and local have none").field_path(".ids"))]
pub struct NetworkClassSpec {
    /// How a segment is realised. `local`: a bridge without an uplink, neighbours on one node only.
    /// `flat`: the untagged frames of a physical network; one Network for each. `vlan`: an 802.1Q
    /// VLAN of a physical network for each Network. Immutable.
    #[serde(rename = "type")]
    pub type_: SegmentType,
    /// The physical network that the segments are in; each node's agent is told which of its NICs
    /// is in it. For `flat` and `vlan`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("physicalNetwork has lower-case letters, digits and dashes, not at its ends"))]
    pub physical_network: Option<String>,
    /// The VLAN ids that Networks may get, 1 to 4094, each alone or as a range, both ends included:
    /// `["100-199", "250"]`. The first free one is taken. For `vlan`. An id that is taken out of it
    /// stays with the Network that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 9)))]
    #[x_kube(validation = Rule::new("self.all(r, r.matches('^[1-9][0-9]{0,3}(-[1-9][0-9]{0,3})?$') && r.split('-').all(i, int(i) <= 4094))").message("ids has something that is no VLAN id from 1 to 4094 and no range of them such as 100-199"))]
    #[x_kube(validation = Rule::new("self.all(r, !r.matches('^[0-9]{1,4}-[0-9]{1,4}$') || int(r.split('-')[0]) <= int(r.split('-')[1]))").message("a range of ids ends before it begins"))]
    pub ids: Option<Vec<String>>,
    /// Largest packet that the segments carry, in bytes, 576 to 9216; 1500 where absent. A node
    /// whose NIC carries less cannot have them. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 576, max = 9216))]
    pub mtu: Option<u32>,
    /// Which namespaces may have Networks of this class, by their labels. Absent: every one for
    /// `local` and `vlan`, none for `flat`. A Network that has its segment keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<LabelSelector>,
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
