//! Image and ClusterImage: what a root disk is made from.

use crate::{Condition, Quantity, schema};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Format of a disk image.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// QEMU's copy-on-write format, version 2 or 3, with no backing file.
    Qcow2,
    /// The bytes of the disk.
    Raw,
}

/// How a node runs guests.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum VirtualizationType {
    /// Hardware virtualization.
    Kvm,
    /// QEMU's emulation.
    Qemu,
}

/// An image; immutable, so that its name always means the same bytes.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "kilonova.dev",
    version = "v1alpha1",
    kind = "Image",
    namespaced,
    shortname = "img",
    status = "ImageStatus",
    derive = "PartialEq",
    category = "kilonova",
    doc = "A bootable disk image of one namespace.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("an Image's name has at most 63 characters"),
    printcolumn(name = "Format", type_ = "string", json_path = ".spec.format"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.virtualSize"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1)
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("an image is immutable: make another one under another name"))]
pub struct ImageSpec {
    /// Where the bytes are; exactly one kind of source.
    pub source: ImageSource,
    /// Format of the bytes: `qcow2` or `raw`.
    pub format: ImageFormat,
    /// What an Instance or a node needs to boot it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<ImageRequirements>,
}

/// An image for every namespace.
pub mod cluster {
    use super::{ImageFormat, ImageRequirements, ImageSource, ImageStatus};
    use kube::{CustomResource, KubeSchema};
    use serde::{Deserialize, Serialize};

    /// The same fields as an Image's.
    #[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[kube(
        group = "kilonova.dev",
        version = "v1alpha1",
        kind = "ClusterImage",
        shortname = "cimg",
        status = "ImageStatus",
        derive = "PartialEq",
        category = "kilonova",
        doc = "A bootable disk image that the operator offers to every namespace.",
        validation = Rule::new("self.metadata.name.size() <= 63").message("a ClusterImage's name has at most 63 characters"),
        printcolumn(name = "Format", type_ = "string", json_path = ".spec.format"),
        printcolumn(name = "Size", type_ = "string", json_path = ".status.virtualSize"),
        printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
        printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1)
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("an image is immutable: make another one under another name"))]
    pub struct ClusterImageSpec {
        /// Where the bytes are; exactly one kind of source.
        pub source: ImageSource,
        /// Format of the bytes: `qcow2` or `raw`.
        pub format: ImageFormat,
        /// What an Instance or a node needs to boot it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub requirements: Option<ImageRequirements>,
    }
}
pub use cluster::ClusterImage;

impl ClusterImage {
    /// Its spec, as an Image's.
    #[must_use]
    pub fn image_spec(&self) -> ImageSpec {
        let cluster::ClusterImageSpec {
            source,
            format,
            requirements,
        } = self.spec.clone();
        ImageSpec {
            source,
            format,
            requirements,
        }
    }
}

/// Where an image's bytes are.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageSource {
    /// An HTTP or HTTPS server that every node can reach.
    pub http: HttpSource,
}

/// A file on an HTTP or HTTPS server.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpSource {
    /// Its address: `https://example.org/debian-12.qcow2`, without credentials.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new("isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost() != ''").message("url is an http or https address such as https://example.org/debian-12.qcow2"))]
    #[x_kube(validation = Rule::new("!self.contains('@')").message("url carries no credentials: who can read the image would read them"))]
    pub url: String,
    /// Checksum of the file: `sha256:` and 64, or `sha512:` and 128 hexadecimal digits in lower case.
    #[schemars(length(max = 135))]
    #[x_kube(validation = Rule::new("self.matches('^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$')").message("checksum is sha256: and 64, or sha512: and 128 hexadecimal digits in lower case"))]
    pub checksum: String,
}

/// What an image needs.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRequirements {
    /// Least memory of the Flavor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("quantity(string(self)).compareTo(quantity('0')) >= 0 && quantity(string(self)).compareTo(quantity('64Ti')) <= 0").message("minMemory is between 0 and 64Ti"))]
    pub min_memory: Option<Quantity>,
    /// Least root disk of the Flavor; never below the image's virtual size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("quantity(string(self)).compareTo(quantity('0')) >= 0 && quantity(string(self)).compareTo(quantity('1Pi')) <= 0").message("minDisk is between 0 and 1Pi"))]
    pub min_disk: Option<Quantity>,
    /// The node's architecture, as `uname -m` says it: `x86_64` or `aarch64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self in ['x86_64', 'aarch64']").message("architecture is x86_64 or aarch64"))]
    pub architecture: Option<String>,
    /// How the node must run guests: `kvm` or `qemu` (emulation).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtualization_type: Option<VirtualizationType>,
}

/// What the controllers read in the image's header.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageStatus {
    /// The `metadata.generation` that this status is of; -1 before the first.
    #[serde(default)]
    pub observed_generation: i64,
    /// Size of the disk that a guest sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<Quantity>,
    /// `Ready`: the header could be read and is harmless.
    #[serde(default)]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
