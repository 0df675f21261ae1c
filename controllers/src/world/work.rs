//! What there is to look at: the keys of the queue.

use kilonova_controllers_core::key::ObjectKey;
use kilonova_crds::v1alpha1::ImageKind;

/// An image of either kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageId {
    /// Which kind.
    pub kind: ImageKind,
    /// Its namespace; empty for a `ClusterImage`.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One thing to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// The Instance of that uid, and its Domains wherever they are.
    Instance(String),
    /// The Segment of that name (a Network's uid) in that node namespace.
    Segment(ObjectKey),
    /// A Network's status and finalizer.
    Network(ObjectKey),
    /// An image's status.
    Image(ImageId),
    /// A `KeyPair`'s status.
    KeyPair(ObjectKey),
    /// The node of that name: its namespace, its conditions, its health.
    Node(String),
}

impl Work {
    /// The kind, as metrics and logs name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Instance(_) => "instance",
            Self::Segment(_) => "segment",
            Self::Network(_) => "network",
            Self::Image(_) => "image",
            Self::KeyPair(_) => "keypair",
            Self::Node(_) => "node",
        }
    }
}
