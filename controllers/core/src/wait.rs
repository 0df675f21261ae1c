//! Why an Instance has no binding yet, and what would end the wait.

use crate::key::ObjectKey;
use crate::placement::{Filter, NoValidHost};
use crate::user_data::MAX_BYTES;
use kilonova_crds::Quantity;
use kilonova_crds::node::reason::USER_DATA_MISSING;
use kilonova_crds::v1alpha1::{ImageKind, ImageRef, SecretKeyRef};
use std::net::IpAddr;

/// Why an Instance cannot be bound now. Its `Display` is the sentence for people.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Wait {
    /// The Flavor does not exist.
    #[error("there is no Flavor {0:?}")]
    FlavorMissing(String),
    /// The Image or `ClusterImage` does not exist.
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
    /// A `KeyPair` does not exist.
    #[error("there is no KeyPair {0:?} in this namespace")]
    KeyPairMissing(String),
    /// A `KeyPair`'s text is no key.
    #[error("KeyPair {key_pair:?} is not usable: {message}")]
    KeyPairInvalid {
        /// The `KeyPair`'s name.
        key_pair: String,
        /// Why.
        message: String,
    },
    /// The Secret that has the user data does not exist.
    #[error("there is no Secret {0:?} in this namespace, which has the user data")]
    SecretMissing(String),
    /// The controllers have no right to read the Secret.
    #[error(
        "the controllers may not read Secret {0:?} of this namespace, which has the user data: a Role here has to give their ServiceAccount the verb get on it"
    )]
    SecretForbidden(String),
    /// The Secret does not have the key.
    #[error("Secret {:?} has no key {:?} with the user data", .0.name, .0.key)]
    SecretKeyMissing(SecretKeyRef),
    /// The user data in the Secret is too long.
    #[error(
        "the user data in key {:?} of Secret {:?} has {bytes} bytes, at most {MAX_BYTES} are taken", .from.key, .from.name
    )]
    UserDataTooLarge {
        /// Where it is.
        from: SecretKeyRef,
        /// How long it is.
        bytes: usize,
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
        /// The image.
        image: ImageRef,
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
        "node {node:?} holds a domain of an earlier instance {instance} (uid {uid}): to take it over, set the annotation kilonova.dev/adopt-orphan: {uid:?}; else have it removed on the node{}", detail(.why.as_ref())
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

fn detail(why: Option<&String>) -> String {
    why.map(|w| format!(" ({w})")).unwrap_or_default()
}

/// What a waiting Instance waits for: when one of these is touched, it is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WaitKey {
    /// The Flavor of that name was made.
    Flavor(String),
    /// An Image, by namespace and name, was made or changed its status.
    Image(ObjectKey),
    /// The `ClusterImage` of that name was made or changed its status.
    ClusterImage(String),
    /// A Network was made or changed.
    Network(ObjectKey),
    /// A `KeyPair` was made or changed.
    KeyPair(ObjectKey),
    /// A Secret was made or changed. Nothing tells of it: who waits for it looks again.
    Secret(ObjectKey),
    /// An address or a MAC of the Network with that uid was released, or its ranges changed.
    Addresses(String),
    /// A segment of a physical network came free: for Networks that have none.
    Segments,
    /// Another holds the segment of the Network with that uid too, or does no longer: for that
    /// Network.
    SegmentOf(String),
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
        match self {
            Self::FlavorMissing(_) => "FlavorMissing",
            Self::ImageMissing(_) => "ImageMissing",
            Self::ImageNotReady { .. } => "ImageNotReady",
            Self::NetworkMissing(_) => "NetworkMissing",
            Self::NetworkNotReady { .. } => "NetworkNotReady",
            Self::KeyPairMissing(_) => "KeyPairMissing",
            Self::KeyPairInvalid { .. } => "KeyPairInvalid",
            Self::SecretMissing(_) | Self::SecretKeyMissing(_) => USER_DATA_MISSING,
            Self::SecretForbidden(_) => "UserDataForbidden",
            Self::UserDataTooLarge { .. } => "UserDataTooLarge",
            Self::AddressTaken { .. } => "AddressTaken",
            Self::AddressOutside { .. } => "AddressOutside",
            Self::AddressesExhausted { .. } => "AddressesExhausted",
            Self::MacTaken { .. } => "MacTaken",
            Self::FlavorTooSmall { .. } => "FlavorTooSmall",
            Self::NoValidHost(_) => "NoValidHost",
            Self::OrphanExists { .. } => "OrphanExists",
            Self::OrphansUnreported => "OrphansUnreported",
        }
    }

    /// Whether only a change of the Instance's spec (another Instance) can help.
    #[must_use]
    pub fn stalled(&self) -> bool {
        matches!(
            self,
            Self::AddressOutside { .. } | Self::FlavorTooSmall { .. }
        )
    }

    /// Whether it is about the image.
    #[must_use]
    pub fn concerns_image(&self) -> bool {
        matches!(
            self,
            Self::ImageMissing(_) | Self::ImageNotReady { .. } | Self::FlavorTooSmall { .. }
        )
    }

    /// Whether it is about a network or an address.
    #[must_use]
    pub fn concerns_network(&self) -> bool {
        matches!(
            self,
            Self::NetworkMissing(_)
                | Self::NetworkNotReady { .. }
                | Self::AddressTaken { .. }
                | Self::AddressOutside { .. }
                | Self::AddressesExhausted { .. }
                | Self::MacTaken { .. }
        )
    }

    /// Whether it is about user data that comes from a Secret. Secrets are not watched: such a wait
    /// ends when the Secret is read again.
    #[must_use]
    pub fn concerns_user_data(&self) -> bool {
        matches!(
            self,
            Self::SecretMissing(_)
                | Self::SecretForbidden(_)
                | Self::SecretKeyMissing(_)
                | Self::UserDataTooLarge { .. }
        )
    }

    /// What the Instance in that namespace waits for. Names of namespaced objects are of that
    /// namespace. Even what is stalled has keys: a Network or an Image can be made anew.
    #[must_use]
    pub fn keys(&self, namespace: &str) -> Vec<WaitKey> {
        let key = |name: &str| ObjectKey::new(namespace, name);
        let image_key = |image: &ImageRef| match image.kind {
            ImageKind::Image => WaitKey::Image(key(&image.name)),
            ImageKind::ClusterImage => WaitKey::ClusterImage(image.name.clone()),
        };
        match self {
            Self::FlavorMissing(name) => vec![WaitKey::Flavor(name.clone())],
            Self::ImageMissing(image) | Self::ImageNotReady { image, .. } => vec![image_key(image)],
            Self::FlavorTooSmall { flavor, image, .. } => {
                vec![WaitKey::Flavor(flavor.clone()), image_key(image)]
            }
            Self::NetworkMissing(network)
            | Self::NetworkNotReady { network, .. }
            | Self::AddressOutside { network, .. } => vec![WaitKey::Network(key(network))],
            Self::KeyPairMissing(key_pair) | Self::KeyPairInvalid { key_pair, .. } => {
                vec![WaitKey::KeyPair(key(key_pair))]
            }
            Self::SecretMissing(name)
            | Self::SecretForbidden(name)
            | Self::SecretKeyMissing(SecretKeyRef { name, .. })
            | Self::UserDataTooLarge {
                from: SecretKeyRef { name, .. },
                ..
            } => vec![WaitKey::Secret(key(name))],
            Self::AddressTaken {
                network,
                network_uid,
                ..
            }
            | Self::AddressesExhausted {
                network,
                network_uid,
            }
            | Self::MacTaken {
                network,
                network_uid,
                ..
            } => vec![
                WaitKey::Network(key(network)),
                WaitKey::Addresses(network_uid.clone()),
            ],
            Self::NoValidHost(no_valid_host) => no_valid_host.keys(namespace),
            Self::OrphanExists { .. } | Self::OrphansUnreported => vec![WaitKey::Orphans],
        }
    }
}

impl NoValidHost {
    /// What may help: other hosts always, room or other instances where they were what failed.
    fn keys(&self, namespace: &str) -> Vec<WaitKey> {
        let failed = |filters: &[Filter]| self.counts.iter().any(|(f, _)| filters.contains(f));
        let mut keys = vec![WaitKey::Hosts];
        if failed(&[Filter::Memory, Filter::Vcpus, Filter::Disk]) {
            keys.push(WaitKey::Capacity);
        }
        if failed(&[Filter::InstanceAffinity, Filter::InstanceAntiAffinity]) {
            keys.push(WaitKey::Placements(namespace.to_owned()));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_what_a_person_needs() {
        let taken = Wait::AddressTaken {
            ip: IpAddr::from([10, 0, 0, 5]),
            network: "blue".into(),
            network_uid: "u".into(),
            holder: Some(ObjectKey::new("shop", "web-1")),
        };
        assert_eq!(
            taken.to_string(),
            "address 10.0.0.5 of Network \"blue\" is held by instance shop/web-1"
        );
        let image = ImageRef {
            kind: ImageKind::ClusterImage,
            name: "debian".into(),
        };
        assert_eq!(
            Wait::ImageMissing(image).to_string(),
            "there is no ClusterImage \"debian\""
        );
    }

    #[test]
    fn a_full_cluster_waits_for_room_and_not_for_instances() {
        let full = NoValidHost {
            counts: vec![(Filter::Memory, 2), (Filter::Cordoned, 1)],
        };
        assert_eq!(
            Wait::NoValidHost(full).keys("shop"),
            [WaitKey::Hosts, WaitKey::Capacity]
        );
        let apart = NoValidHost {
            counts: vec![(Filter::InstanceAntiAffinity, 2)],
        };
        assert_eq!(
            Wait::NoValidHost(apart).keys("shop"),
            [WaitKey::Hosts, WaitKey::Placements("shop".into())]
        );
    }
}
