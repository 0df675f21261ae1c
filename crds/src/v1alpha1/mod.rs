//! `kilonova.dev/v1alpha1`: the objects that people write.

pub mod affinity;
mod flavor;
mod hypervisor;
mod image;
mod instance;
mod key_pair;
mod network;
mod network_class;

pub use flavor::{Flavor, FlavorSpec};
pub use hypervisor::{
    Capacity, Cpu, Hypervisor, HypervisorSpec, HypervisorStatus, Nic, Orphan, OrphanPort,
    Overcommit, Reserved, Share, Versions,
};
pub use image::{
    ClusterImage, HttpSource, Image, ImageFormat, ImageRequirements, ImageSource, ImageSpec,
    ImageStatus, VirtualizationType,
};
pub use instance::{
    BoundAddress, BoundImage, BoundInterface, BoundSegment, Claim, ImageKind, ImageRef, Instance,
    InstanceSpec, InstanceStatus, Interface, Power, PowerState, RestartPolicy, SecretKeyRef,
    UserDataSource,
};
pub use key_pair::{KeyPair, KeyPairSpec, KeyPairStatus};
pub use network::{Network, NetworkSpec, NetworkStatus, Route, SegmentStatus, Subnet};
pub use network_class::{NetworkClass, NetworkClassSpec, SegmentType};
