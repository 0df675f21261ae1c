//! What a node knows of an instance, kept as a file beside its disk: whose it is, what it was to
//! be, how it last stopped. With it a held guest's ports, DHCP and rules can be rebuilt without
//! the API, and a domain of ours is known even where its libvirt domain is gone.

use kilonova_crds::node::{DomainSpec, SegmentSpec};
use serde::{Deserialize, Serialize};

/// Whose a domain is: the same in the record beside the disk and in the libvirt domain's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Id of the cluster.
    pub cluster_id: String,
    /// The Instance's namespace.
    pub namespace: String,
    /// That namespace's uid.
    pub namespace_uid: String,
    /// The Instance's name.
    pub name: String,
    /// The Instance's uid.
    pub uid: String,
    /// UUID of the libvirt domain.
    pub uuid: String,
}

/// How a libvirt domain came to be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LastStop {
    /// The guest shut itself down.
    Guest,
    /// QEMU ended or the guest panicked.
    Crashed,
    /// As its Domain asked, or it never ran.
    Asked,
    /// Its power was cut past us.
    Outside,
}

/// The record of an instance on this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Whose it is.
    pub owner: Owner,
    /// The spec of its Domain that was last carried out.
    pub spec: DomainSpec,
    /// The Segments that its ports are plugged into.
    #[serde(default)]
    pub segments: Vec<SegmentSpec>,
    /// Canonical name of its machine type: it must not change under a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Whether its root disk was made: it is never made anew after that.
    #[serde(default)]
    pub disk_created: bool,
    /// How it last stopped; absent while it runs, or ran when last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_stop: Option<LastStop>,
}

/// What is in the directory of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceFiles {
    /// UUID of the libvirt domain, which names the directory.
    pub uuid: String,
    /// Its record; absent where there is none, or none that can be read.
    pub record: Option<Record>,
    /// Its root disk.
    pub disk: Option<DiskFile>,
    /// [`crate::guest::Drive::digest`] of what its config drive was made from.
    pub config_drive: Option<String>,
}

/// A root disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFile {
    /// Size that the guest sees, in bytes; 0 where its header cannot be read.
    pub virtual_size_bytes: u64,
    /// Space that it takes on the node, in bytes.
    pub allocated_bytes: u64,
    /// Name of the cached image under it, the last part of its path.
    pub backing: Option<String>,
}
