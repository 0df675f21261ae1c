//! Flavor: a size that the operator offers.

use crate::Quantity;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// A size of Instance. Its sizes are immutable; an Instance keeps its own copy once it is bound.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "kilonova.dev",
    version = "v1alpha1",
    kind = "Flavor",
    derive = "PartialEq",
    category = "kilonova",
    doc = "A size of Instance that the operator offers.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("a Flavor's name has at most 63 characters"),
    printcolumn(name = "VCPUs", type_ = "integer", json_path = ".spec.vcpus"),
    printcolumn(name = "Memory", type_ = "string", json_path = ".spec.memory"),
    printcolumn(name = "Disk", type_ = "string", json_path = ".spec.disk"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a Flavor's sizes are immutable: make another Flavor"))]
pub struct FlavorSpec {
    /// Number of virtual CPUs, 1 to 512.
    #[schemars(range(min = 1, max = 512))]
    pub vcpus: u32,
    /// Memory of the guest, at least 16Mi.
    #[x_kube(validation = Rule::new("quantity(string(self)).compareTo(quantity('16Mi')) >= 0 && quantity(string(self)).compareTo(quantity('64Ti')) <= 0").message("memory is between 16Mi and 64Ti"))]
    pub memory: Quantity,
    /// Size of the root disk, at least 1Mi. An image that is larger does not fit this Flavor.
    #[x_kube(validation = Rule::new("quantity(string(self)).compareTo(quantity('1Mi')) >= 0 && quantity(string(self)).compareTo(quantity('1Pi')) <= 0").message("disk is between 1Mi and 1Pi"))]
    pub disk: Quantity,
}
