//! An Instance's binding: what was decided for it, once.

use crate::key::ObjectKey;
use crate::resolve::{self, NetworkView};
use crate::wait::Wait;
use kilonova_crds::node::{Domain, DomainImage, RootDisk};
use kilonova_crds::v1alpha1::{
    BoundImage, BoundInterface, Claim, ClusterImage, Flavor, Image, ImageFormat, ImageSpec,
    ImageStatus, Instance, InstanceStatus, KeyPair, Network, Orphan,
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
    /// Its `KeyPair`s, by name.
    pub key_pairs: BTreeMap<&'a str, &'a KeyPair>,
    /// Nodes that refused it and have reported nothing new since.
    pub refused: BTreeSet<&'a str>,
}

impl Binding {
    /// The binding in a status, when there is a whole one.
    #[must_use]
    pub fn of(status: &InstanceStatus) -> Option<Self> {
        Some(Self {
            uuid: status.uuid.clone()?,
            node: status.node_name.clone()?,
            claim: status.claim.clone()?,
            image: status.image.clone()?,
            interfaces: status.interfaces.clone(),
            public_keys: status.public_keys.clone(),
        })
    }

    /// `previous` with this binding in it; conditions and observations stay as they are.
    #[must_use]
    pub fn to_status(&self, previous: &InstanceStatus) -> InstanceStatus {
        InstanceStatus {
            observed_generation: previous.observed_generation,
            uuid: Some(self.uuid.clone()),
            node_name: Some(self.node.clone()),
            claim: Some(self.claim.clone()),
            image: Some(self.image.clone()),
            addresses: addresses(&self.interfaces),
            interfaces: self.interfaces.clone(),
            public_keys: self.public_keys.clone(),
            power_state: previous.power_state,
            conditions: previous.conditions.clone(),
        }
    }

    /// The binding that a Domain realises, for an Instance whose status lost it.
    ///
    /// # Errors
    /// When an interface's Network is missing or not ready.
    pub fn from_domain(inputs: &Inputs<'_>, node: &str, domain: &Domain) -> Result<Self, Wait> {
        let spec = &domain.spec;
        let disk_created = spec.root_disk == RootDisk::Existing
            || domain.status.as_ref().is_some_and(|s| s.disk_created);
        let DomainImage {
            kind,
            url,
            checksum,
            format,
            virtual_size,
        } = spec.image.clone();
        let mut interfaces = Vec::with_capacity(spec.ports.len());
        for port in &spec.ports {
            let network = network_of(inputs, &port.name)?;
            interfaces.push(BoundInterface {
                name: port.name.clone(),
                network: network.name.to_owned(),
                network_uid: port.segment.clone(),
                mac: port.mac.clone(),
                ips: port.ips.clone(),
                segment: network.segment,
            });
        }
        Ok(Self {
            uuid: spec.uuid.clone(),
            node: node.to_owned(),
            claim: Claim {
                flavor: inputs.instance.spec.flavor.clone(),
                vcpus: spec.vcpus,
                memory: spec.memory.clone(),
                disk: spec.disk.clone(),
            },
            image: BoundImage {
                kind,
                url,
                checksum,
                format,
                virtual_size,
                disk_created: disk_created.then_some(true),
            },
            interfaces,
            public_keys: spec.guest.public_keys.clone(),
        })
    }

    /// The binding by which an Instance takes over an orphan: what the orphan has, it keeps. What
    /// its disk was made from is the Instance's image where that is known; nothing is made from it.
    ///
    /// # Errors
    /// When a Network is missing, or the orphan's ports are not the Instance's interfaces.
    pub fn from_orphan(inputs: &Inputs<'_>, node: &str, orphan: &Orphan) -> Result<Self, Wait> {
        let wanted = inputs.instance.spec.interfaces();
        let differs = |why: String| Wait::OrphanExists {
            node: node.to_owned(),
            instance: ObjectKey::new(&orphan.namespace, &orphan.name),
            uid: orphan.uid.clone(),
            why: Some(why),
        };
        if wanted.len() != orphan.ports.len() {
            let (has, wants) = (orphan.ports.len(), wanted.len());
            return Err(differs(format!(
                "it has {has} interfaces and this instance {wants}"
            )));
        }
        let mut interfaces = Vec::with_capacity(wanted.len());
        for (interface, port) in wanted.iter().zip(&orphan.ports) {
            let network = network_of(inputs, &interface.name)?;
            if network.uid != port.network_uid {
                return Err(differs(format!(
                    "its interface {} is in another Network",
                    interface.name
                )));
            }
            let ips = port.ips.iter().map(|ip| network.bound_address(ip));
            interfaces.push(BoundInterface {
                name: interface.name.clone(),
                network: interface.network.clone(),
                network_uid: port.network_uid.clone(),
                mac: port.mac.clone(),
                ips: ips.collect(),
                segment: network.segment,
            });
        }
        Ok(Self {
            uuid: orphan.uuid.clone(),
            node: node.to_owned(),
            claim: Claim {
                flavor: inputs.instance.spec.flavor.clone(),
                vcpus: orphan.claim.vcpus,
                memory: orphan.claim.memory.clone(),
                disk: orphan.claim.disk.clone(),
            },
            image: orphan_image(inputs, orphan),
            interfaces,
            public_keys: resolve::public_keys(inputs).unwrap_or_default(),
        })
    }
}

fn orphan_image(inputs: &Inputs<'_>, orphan: &Orphan) -> BoundImage {
    let known = inputs.image.as_ref().map(|view| {
        let source = view.spec.source.http.clone();
        let size = view.status.and_then(|s| s.virtual_size.clone());
        (source.url, source.checksum, view.spec.format, size)
    });
    let (url, checksum, format, size) =
        known.unwrap_or((String::new(), String::new(), ImageFormat::Qcow2, None));
    BoundImage {
        kind: inputs.instance.spec.image.kind,
        url,
        checksum,
        format,
        virtual_size: size.unwrap_or_else(|| orphan.claim.disk.clone()),
        disk_created: Some(true),
    }
}

/// The Network of the Instance's interface of that name.
fn network_of<'a>(inputs: &Inputs<'a>, interface: &str) -> Result<NetworkView<'a>, Wait> {
    let mut interfaces = inputs.instance.spec.interfaces().iter();
    let name = interfaces
        .find(|i| i.name == interface)
        .map_or("", |i| i.network.as_str());
    NetworkView::new(inputs, name)
}

/// What a status shows of the interfaces' addresses.
pub(crate) fn addresses(interfaces: &[BoundInterface]) -> Option<String> {
    let ips = interfaces.iter().flat_map(|i| &i.ips);
    let all: Vec<&str> = ips.map(|a| a.ip.as_str()).collect();
    (!all.is_empty()).then(|| all.join(","))
}

/// `status` without its binding; only the uuid stays.
#[must_use]
pub fn taken_back(status: &InstanceStatus) -> InstanceStatus {
    InstanceStatus {
        observed_generation: status.observed_generation,
        uuid: status.uuid.clone(),
        conditions: status.conditions.clone(),
        ..InstanceStatus::default()
    }
}
