//! The objects of Kilonova, in both API groups: types, schemas, names. Schema only: nothing here
//! talks to an API server or decides anything.
//!
//! - [`v1alpha1`]: `kilonova.dev`, for people. Cluster-scoped objects are the operator's
//!   ([`Flavor`], [`NetworkClass`], [`ClusterImage`], [`Hypervisor`]), namespaced ones the tenant's
//!   ([`Instance`], [`Network`], [`Image`], [`KeyPair`]).
//! - [`node`]: `node.kilonova.dev`, between controllers and agents, in node namespaces only
//!   ([`Domain`], [`Segment`]).
//! - [`names`]: every name, label, annotation and finalizer that two rooms must agree on.
//!
//! `crdgen` writes the CustomResourceDefinitions from these types into `charts/kilonova-crds`, and the
//! API reference `docs/api.md`.

#![allow(
    clippy::duplicated_attributes,
    reason = "the lint takes the columns of one kind for repetitions"
)]

pub mod condition;
pub mod names;
pub mod node;
pub mod quantity;
pub mod schema;
pub mod v1alpha1;

pub use condition::{Condition, ConditionStatus};
pub use node::{Domain, Segment};
pub use quantity::Quantity;
pub use v1alpha1::{
    ClusterImage, Flavor, Hypervisor, Image, Instance, KeyPair, Network, NetworkClass,
};
