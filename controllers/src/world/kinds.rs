//! The kinds that are cached: where each is kept, and what of it.

use super::{Work, World};
use crate::cache::reading::Leniency;
use crate::cache::store::{Change, Store};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kilonova_crds::{
    ClusterImage, Domain, Flavor, Hypervisor, Image, Instance, KeyPair, Network, NetworkClass,
    Segment,
};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// A Namespace without its content.
pub type NamespaceMeta = PartialObjectMeta<Namespace>;

/// A kind that is cached.
pub trait Cached:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Where it is kept.
    fn store(world: &mut World) -> &mut Store<Self>;

    /// Its API in a namespace, or in all (`None`).
    fn api(client: &Client, namespace: Option<&str>) -> Api<Self>;

    /// Drops what nobody here looks at.
    fn trim(&mut self) {
        trim_metadata(self.meta_mut());
    }

    /// Takes a change in: indexes, ledgers, and what must be looked at because of it.
    fn changed(world: &mut World, change: &Change<Self>, work: &mut Vec<Work>);
}

macro_rules! cached {
    ($kind:ty, $field:ident, namespaced, $changed:path $(, $trim:path)?) => {
        impl Cached for $kind {
            fn api(client: &Client, namespace: Option<&str>) -> Api<Self> {
                match namespace {
                    Some(namespace) => Api::namespaced(client.clone(), namespace),
                    None => Api::all(client.clone()),
                }
            }
            cached!(@common $field, $changed $(, $trim)?);
        }
    };
    ($kind:ty, $field:ident, cluster, $changed:path $(, $trim:path)?) => {
        impl Cached for $kind {
            fn api(client: &Client, _: Option<&str>) -> Api<Self> {
                Api::all(client.clone())
            }
            cached!(@common $field, $changed $(, $trim)?);
        }
    };
    (@common $field:ident, $changed:path $(, $trim:path)?) => {
        fn store(world: &mut World) -> &mut Store<Self> {
            &mut world.$field
        }
        fn changed(world: &mut World, change: &Change<Self>, work: &mut Vec<Work>) {
            $changed(world, change, work);
        }
        $(fn trim(&mut self) {
            trim_metadata(self.meta_mut());
            $trim(self);
        })?
    };
}

cached!(Instance, instances, namespaced, World::instance_changed);
cached!(Network, networks, namespaced, World::network_changed);
cached!(Image, images, namespaced, World::image_changed);
cached!(
    ClusterImage,
    cluster_images,
    cluster,
    World::cluster_image_changed
);
cached!(KeyPair, key_pairs, namespaced, World::key_pair_changed);
cached!(Flavor, flavors, cluster, World::flavor_changed);
cached!(NetworkClass, classes, cluster, World::class_changed);
cached!(Hypervisor, hypervisors, cluster, World::hypervisor_changed);
cached!(Domain, domains, namespaced, World::domain_changed);
cached!(Segment, segments, namespaced, World::segment_changed);
cached!(Node, nodes, cluster, World::node_changed, without_status);
cached!(Lease, leases, namespaced, World::lease_changed);
cached!(NamespaceMeta, namespaces, cluster, World::namespace_changed);

/// What is done about an object of that kind that was written for newer controllers.
///
/// An Instance, a Network and a Hypervisor hold things, whatever else they say: taken for absent,
/// what they hold would be given away or removed. What an operator or a tenant offers holds nothing.
/// All others are written by Kubernetes, or by controllers: those that wrote them lead, or did.
pub fn leniency<K: Cached>() -> Leniency {
    let kind = K::kind(&());
    let is = |other: &str| kind == other;
    if is(&Instance::kind(&())) || is(&Network::kind(&())) || is(&Hypervisor::kind(&())) {
        return Leniency::Partial;
    }
    let offers = [
        Image::kind(&()),
        ClusterImage::kind(&()),
        KeyPair::kind(&()),
        Flavor::kind(&()),
        NetworkClass::kind(&()),
    ];
    if offers.contains(&kind) {
        Leniency::Dispensable
    } else {
        Leniency::Required
    }
}

/// What `kubectl apply` leaves for itself: the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Who wrote which field is most of a small object.
fn trim_metadata(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

/// A Node's status is large (the images that it holds) and nothing here reads it.
fn without_status(node: &mut Node) {
    node.status = None;
}
