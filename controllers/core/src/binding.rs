//! An Instance's binding: what was decided for it, once.

use crate::wait::Wait;
use kilonova_crds::node::Domain;
use kilonova_crds::v1alpha1::{
    BoundImage, BoundInterface, Claim, ClusterImage, Flavor, Image, ImageSpec, ImageStatus,
    Instance, InstanceStatus, KeyPair, Network, Orphan,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// What was decided for an Instance, and stays: where it is, what it has there.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// UUID of the libvirt domain.
    pub uuid: String,
    /// The node.
    pub node: String,
    /// The sizes.
    pub claim: Claim,
    /// What the root disk is made from.
    pub image: BoundImage,
    /// The interfaces with their MACs and addresses.
    pub interfaces: Vec<BoundInterface>,
    /// The public keys, in the order of `spec.keyPairs`.
    pub public_keys: Vec<String>,
}

/// An image of either kind, with what its header said.
#[derive(Clone, Debug)]
pub struct ImageView<'a> {
    /// Its spec.
    pub spec: Cow<'a, ImageSpec>,
    /// Its status, where there is one.
    pub status: Option<&'a ImageStatus>,
}

impl<'a> From<&'a Image> for ImageView<'a> {
    fn from(image: &'a Image) -> Self {
        Self {
            spec: Cow::Borrowed(&image.spec),
            status: image.status.as_ref(),
        }
    }
}

impl<'a> From<&'a ClusterImage> for ImageView<'a> {
    fn from(image: &'a ClusterImage) -> Self {
        Self {
            spec: Cow::Owned(image.image_spec()),
            status: image.status.as_ref(),
        }
    }
}

/// What an Instance names, as far as it exists.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The Instance.
    pub instance: &'a Instance,
    /// Its Flavor.
    pub flavor: Option<&'a Flavor>,
    /// Its image.
    pub image: Option<ImageView<'a>>,
    /// The Networks of its interfaces, by name; those that are being deleted count as missing.
    pub networks: BTreeMap<&'a str, &'a Network>,
    /// Its KeyPairs, by name.
    pub key_pairs: BTreeMap<&'a str, &'a KeyPair>,
    /// Nodes that refused it and have reported nothing new since.
    pub refused: BTreeSet<&'a str>,
}

impl Binding {
    /// The binding in a status, when there is a whole one.
    #[must_use]
    pub fn of(status: &InstanceStatus) -> Option<Self> {
        let _ = status;
        todo!()
    }

    /// `previous` with this binding in it; conditions and observations stay as they are.
    #[must_use]
    pub fn to_status(&self, previous: &InstanceStatus) -> InstanceStatus {
        let _ = previous;
        todo!()
    }

    /// The binding that a Domain realises, for an Instance whose status lost it.
    ///
    /// # Errors
    /// When an interface's Network is missing or not ready.
    pub fn from_domain(inputs: &Inputs<'_>, node: &str, domain: &Domain) -> Result<Self, Wait> {
        let _ = (inputs, node, domain);
        todo!()
    }

    /// The binding by which an Instance takes over an orphan.
    ///
    /// # Errors
    /// When a Network is missing, or the orphan's ports are not the Instance's interfaces.
    pub fn from_orphan(inputs: &Inputs<'_>, node: &str, orphan: &Orphan) -> Result<Self, Wait> {
        let _ = (inputs, node, orphan);
        todo!()
    }
}

/// `status` without its binding; only the uuid stays.
#[must_use]
pub fn taken_back(status: &InstanceStatus) -> InstanceStatus {
    let _ = status;
    todo!()
}
