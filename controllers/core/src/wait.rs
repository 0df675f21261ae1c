//! Why an Instance has no binding yet, and what would end the wait.

use crate::key::ObjectKey;
use crate::placement::NoValidHost;
use kilonova_crds::Quantity;
use kilonova_crds::v1alpha1::{ImageKind, ImageRef};
use std::net::IpAddr;

/// Why an Instance cannot be bound now. Its `Display` is the sentence for people.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Wait {
    /// The Flavor does not exist.
    #[error("there is no Flavor {0:?}")]
    FlavorMissing(String),
    /// The Image or ClusterImage does not exist.
    #[error("there is no {} {:?}", kind_name(.0.kind), .0.name)]
    ImageMissing(ImageRef),
    /// Its header is not known yet, or it is no usable image.
    #[error("{} {:?} is not ready: {message}", kind_name(.image.kind), .image.name)]
    ImageNotReady {
        /// The image.
        image: ImageRef,
        /// What its own Ready condition says.
        message: String,
    },
    /// A Network that an interface names does not exist.
    #[error("there is no Network {0:?} in this namespace")]
    NetworkMissing(String),
    /// A Network that an interface names cannot be attached to.
    #[error("Network {network:?} is not ready: {message}")]
    NetworkNotReady {
        /// The Network's name.
        network: String,
        /// What its own Ready condition says.
        message: String,
    },
    /// A KeyPair does not exist.
    #[error("there is no KeyPair {0:?} in this namespace")]
    KeyPairMissing(String),
    /// A KeyPair's text is no key.
    #[error("KeyPair {key_pair:?} is not usable: {message}")]
    KeyPairInvalid {
        /// The KeyPair's name.
        key_pair: String,
        /// Why.
        message: String,
    },
    /// Another instance holds the fixed address.
    #[error("address {ip} of Network {network:?} is held by {}", held_by(.holder.as_ref()))]
    AddressTaken {
        /// The address.
        ip: IpAddr,
        /// The Network's name.
        network: String,
        /// The Network's uid.
        network_uid: String,
        /// Who holds it, where it is known.
        holder: Option<ObjectKey>,
    },
    /// A fixed address is in no subnet of the Network, or is one that is never given.
    #[error("address {ip} cannot be given in Network {network:?}: {why}")]
    AddressOutside {
        /// The address as it is written.
        ip: String,
        /// The Network's name.
        network: String,
        /// Why not.
        why: String,
    },
    /// Every address of the Network's ranges is held.
    #[error("every address of Network {network:?} is held")]
    AddressesExhausted {
        /// The Network's name.
        network: String,
        /// The Network's uid.
        network_uid: String,
    },
    /// Another instance of the Network holds the fixed MAC.
    #[error("MAC {mac} is held in Network {network:?} by {}", held_by(.holder.as_ref()))]
    MacTaken {
        /// The MAC.
        mac: String,
        /// The Network's name.
        network: String,
        /// The Network's uid.
        network_uid: String,
        /// Who holds it, where it is known.
        holder: Option<ObjectKey>,
    },
    /// The image needs more than the Flavor gives.
    #[error("Flavor {flavor:?} is too small for the image: {resource} {has}, needed {needs}")]
    FlavorTooSmall {
        /// The Flavor's name.
        flavor: String,
        /// `memory` or `disk`.
        resource: &'static str,
        /// What the Flavor gives.
        has: Quantity,
        /// What the image needs.
        needs: Quantity,
    },
    /// No hypervisor passes the filters.
    #[error("{0}")]
    NoValidHost(NoValidHost),
    /// A node holds a domain that may be this instance's, and only a person can say so.
    #[error(
        "node {node:?} holds a domain of an earlier instance {instance} (uid {uid}): to take it over, set the annotation kilonova.dev/adopt-orphan: {uid:?}; else have it removed on the node{}", detail(.why)
    )]
    OrphanExists {
        /// The node.
        node: String,
        /// The orphan's instance.
        instance: ObjectKey,
        /// The orphan's Instance uid.
        uid: String,
        /// What stands against taking it over by itself, where there is something.
        why: Option<String>,
    },
    /// The Instance may have a domain somewhere already, and not every hypervisor has said yet.
    #[error(
        "waiting until every live hypervisor has reported the domains that it holds: this instance may have one already"
    )]
    OrphansUnreported,
}

fn kind_name(kind: ImageKind) -> &'static str {
    match kind {
        ImageKind::Image => "Image",
        ImageKind::ClusterImage => "ClusterImage",
    }
}

fn held_by(holder: Option<&ObjectKey>) -> String {
    holder.map_or_else(
        || "something that is gone from the API".to_owned(),
        |key| format!("instance {key}"),
    )
}

fn detail(why: &Option<String>) -> String {
    why.as_ref().map(|w| format!(" ({w})")).unwrap_or_default()
}

/// What a waiting Instance waits for: when one of these is touched, it is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WaitKey {
    /// The Flavor of that name was made.
    Flavor(String),
    /// An Image, by namespace and name, was made or changed its status.
    Image(ObjectKey),
    /// The ClusterImage of that name was made or changed its status.
    ClusterImage(String),
    /// A Network was made or changed.
    Network(ObjectKey),
    /// A KeyPair was made or changed.
    KeyPair(ObjectKey),
    /// An address or a MAC of the Network with that uid was released, or its ranges changed.
    Addresses(String),
    /// A hypervisor has more room than before.
    Capacity,
    /// A hypervisor came, or changed in what filters look at.
    Hosts,
    /// Instances of that namespace came, went, moved or changed their labels.
    Placements(String),
    /// A hypervisor reported other orphans than before.
    Orphans,
}

impl Wait {
    /// Why, in one word for programs: the reason of the condition.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        todo!()
    }
    /// Whether only a change of the Instance's spec (another Instance) can help.
    #[must_use]
    pub fn stalled(&self) -> bool {
        todo!()
    }
    /// What the Instance in that namespace waits for.
    #[must_use]
    pub fn keys(&self, namespace: &str) -> Vec<WaitKey> {
        let _ = namespace;
        todo!()
    }
}
