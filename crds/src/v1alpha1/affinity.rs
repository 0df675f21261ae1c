//! Rules of placement, with the words of a Pod's: node affinity, instance (anti-)affinity,
//! tolerations. Only what the scheduler evaluates is here.
#![allow(
    clippy::struct_field_names,
    reason = "the words of a Pod's affinity, known to who writes it"
)]

use crate::schema;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where an Instance may, or would rather, be.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Affinity {
    /// Rules about the labels of Nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<NodeAffinity>,
    /// Be where certain instances of this namespace are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_affinity: Option<InstanceAffinity>,
    /// Be where certain instances of this namespace are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_anti_affinity: Option<InstanceAffinity>,
}

/// Rules about the labels of Nodes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeAffinity {
    /// A Node must match one of the terms.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "requiredDuringSchedulingIgnoredDuringExecution"
    )]
    pub required: Option<NodeSelector>,
    /// A Node that matches is preferred, by weight.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        rename = "preferredDuringSchedulingIgnoredDuringExecution"
    )]
    #[schemars(length(max = 16))]
    pub preferred: Vec<PreferredNode>,
}

/// Terms of which one must match.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector {
    /// The terms: a Node matches when it matches any.
    #[schemars(length(min = 1, max = 16))]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// Requirements that must all hold.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelectorTerm {
    /// Requirements on the Node's labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<NodeRequirement>,
}

/// A term that adds to a Node's weight.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreferredNode {
    /// How much, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub weight: u32,
    /// What the Node must match.
    pub preference: NodeSelectorTerm,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NodeOperator {
    /// It has one of the values.
    #[default]
    In,
    /// It has none of the values.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
    /// As a whole number, it is above the value.
    Gt,
    /// As a whole number, it is below the value.
    Lt,
}

/// A requirement on one label of a Node.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.operator in ['Exists', 'DoesNotExist'] ? (!has(self.values) || self.values.size() == 0) : has(self.values) && self.values.size() >= 1").message("In, NotIn, Gt and Lt need values; Exists and DoesNotExist take none").field_path(".values"))]
#[x_kube(validation = Rule::new("!(self.operator in ['Gt', 'Lt']) || (has(self.values) && self.values.size() == 1 && self.values[0].matches('^-?[0-9]{1,18}$'))").message("Gt and Lt take one whole number").field_path(".values"))]
pub struct NodeRequirement {
    /// The label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: NodeOperator,
    /// The values to compare with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// Rules about where certain other instances are.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceAffinity {
    /// All of these must hold when the Instance is placed.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        rename = "requiredDuringSchedulingIgnoredDuringExecution"
    )]
    #[schemars(length(max = 8))]
    pub required: Vec<InstanceAffinityTerm>,
    /// Those that hold are preferred, by weight.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        rename = "preferredDuringSchedulingIgnoredDuringExecution"
    )]
    #[schemars(length(max = 8))]
    pub preferred: Vec<PreferredInstances>,
}

/// A term that adds to a Node's weight.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreferredInstances {
    /// How much, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub weight: u32,
    /// Which instances, and how near.
    pub instance_affinity_term: InstanceAffinityTerm,
}

/// Which instances of this namespace, and how near.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceAffinityTerm {
    /// The instances, by their labels.
    pub label_selector: LabelSelector,
    /// Two Nodes are near each other when they have the same value of this label
    /// (`kubernetes.io/hostname`: the same Node).
    #[schemars(length(min = 1, max = 317))]
    pub topology_key: String,
}

/// Chooses objects by their labels; all parts must hold, and none at all matches everything.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// It has one of the values.
    #[default]
    In,
    /// It has none of the values.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

/// A requirement on one label.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.operator in ['Exists', 'DoesNotExist'] ? (!has(self.values) || self.values.size() == 0) : has(self.values) && self.values.size() >= 1").message("In and NotIn need values; Exists and DoesNotExist take none").field_path(".values"))]
pub struct LabelRequirement {
    /// The label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: LabelOperator,
    /// The values to compare with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a toleration is compared with a taint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// The taint has the key and the value.
    #[default]
    Equal,
    /// The taint has the key; no key at all tolerates every taint.
    Exists,
}

/// A taint of a Node that the Instance bears.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')").message("a toleration without a key needs operator: Exists").field_path(".operator"))]
#[x_kube(validation = Rule::new("!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''").message("a toleration with operator Exists takes no value").field_path(".value"))]
pub struct Toleration {
    /// The taint's key; absent with operator `Exists`: every taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub key: Option<String>,
    /// `Equal` (where absent) or `Exists`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// The taint's value, for `Equal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// The taint's effect; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self in ['NoSchedule', 'PreferNoSchedule', 'NoExecute']").message("effect is NoSchedule, PreferNoSchedule or NoExecute"))]
    pub effect: Option<String>,
}
