//! The next action for one Instance (by uid) and its Domains: a pure plan, one step at a time.
//!
//! The caller carries the action out, observes, and asks again. Nothing is destroyed because
//! something is absent: a Purge is ordered because the Instance's deletion was seen, because the
//! node refused it before it had a disk, or because an abandoned Domain's retention has passed.

mod deleting;
mod gone;
mod living;

use crate::cluster::{BindingFault, current_outcome};
use crate::wait::Wait;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kilonova_crds::names::ABANDONED_ANNOTATION;
use kilonova_crds::node::{Disposition, Domain, DomainSpec, Outcome};
use kilonova_crds::v1alpha1::{Instance, Orphan};

/// A Domain and where it is.
#[derive(Clone, Copy, Debug)]
pub struct DomainAt<'a> {
    /// The node in whose namespace it is.
    pub node: &'a str,
    /// The Domain.
    pub domain: &'a Domain,
}

/// An orphan and who holds it.
#[derive(Clone, Copy, Debug)]
pub struct OrphanAt<'a> {
    /// The node that holds it.
    pub node: &'a str,
    /// The orphan.
    pub orphan: &'a Orphan,
}

/// What is known of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its agent's Lease is fresh.
    pub ready: bool,
    /// An operator declared it gone: the out-of-service taint, or its Hypervisor was deleted.
    pub declared_gone: bool,
    /// Its node namespace exists and is not being deleted.
    pub namespace: bool,
}

/// What is known of one Instance's uid.
pub struct Facts<'a> {
    /// The Instance; `None` only once a consistent read has shown that it is gone.
    pub instance: Option<&'a Instance>,
    /// The uid of its namespace.
    pub namespace_uid: &'a str,
    /// Its Domains in all node namespaces.
    pub domains: Vec<DomainAt<'a>>,
    /// Orphans that may be its (`Cluster::orphans_for`); each stands for a libvirt domain that no
    /// Domain object names.
    pub orphans: Vec<OrphanAt<'a>>,
    /// False while the Instance is older than the leader's start and not every live Hypervisor has
    /// reported its orphans since.
    pub orphans_known: bool,
    /// What the ledgers say against its binding (`Cluster::examine`); looked at only while it has
    /// no Domain.
    pub fault: Option<BindingFault>,
    /// What is known of a node.
    pub node: &'a dyn Fn(&str) -> NodeFacts,
    /// Now.
    pub now: Timestamp,
    /// How long an abandoned disk is kept; `None`: for ever.
    pub retention: Option<SignedDuration>,
}

/// Why nothing can be done now.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Pause {
    /// An orphan stands against a binding.
    #[error(transparent)]
    Orphan(#[from] Wait),
    /// The user data cannot be had, for a Domain that the node has taken none of yet.
    #[error(transparent)]
    UserData(Wait),
    /// The node does not answer; its Domain is made, or gone, when it does.
    #[error("node {0:?} does not answer")]
    NodeSilent(String),
    /// A Purge waits for a node that does not answer.
    #[error(
        "waiting for node {0:?}, which does not answer, to remove the domain: bring it back, or declare it gone for good with the taint node.kubernetes.io/out-of-service, or by deleting its Hypervisor"
    )]
    PurgeSilent(String),
    /// The node is at it.
    #[error("waiting for node {0:?} to remove the domain")]
    Purging(String),
    /// The node's namespace is missing.
    #[error("waiting for the namespace of node {0:?}")]
    NamespaceMissing(String),
    /// An abandoned Domain's retention has not passed.
    #[error("the disk on node {node:?} is kept until {until}")]
    Retained {
        /// The node.
        node: String,
        /// When it is purged.
        until: Timestamp,
    },
}

/// The next action.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Nothing is to be done.
    Nothing,
    /// Nothing can be done now.
    Wait(Pause),
    /// Put our finalizer on the Instance.
    AddFinalizer,
    /// Bind it (`Cluster::bind`).
    Bind,
    /// Bind it to the Domain that is there (`Binding::from_domain`).
    AdoptDomain {
        /// The node.
        node: String,
    },
    /// Bind it to the orphan that is there (`Binding::from_orphan`); its Domain is made next.
    AdoptOrphan {
        /// The node.
        node: String,
        /// The orphan's Instance uid.
        uid: String,
    },
    /// Take its binding back.
    TakeBack(BindingFault),
    /// Make the Domain.
    CreateDomain(DomainWrite),
    /// Rewrite the Domain.
    UpdateDomain(DomainWrite),
    /// Delete the Domain object: its node has nothing of it any more.
    DeleteDomain {
        /// The node.
        node: String,
    },
    /// Take our finalizer off the Instance.
    RemoveFinalizer,
}

/// A Domain to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainWrite {
    /// The node in whose namespace.
    pub node: String,
    /// Why.
    pub why: WriteReason,
    /// The whole spec.
    pub spec: Box<DomainSpec>,
    /// The value of the annotation `kilonova.dev/abandoned-at`; `None`: it goes.
    pub abandoned_at: Option<Timestamp>,
}

/// Why a Domain is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteReason {
    /// The Instance is bound there.
    Dispatch,
    /// The Instance changed.
    Change,
    /// The Instance is being deleted.
    Purge,
    /// The node refused it, before it had a disk.
    Refused,
    /// Its Instance is gone without the finalizer's way.
    Abandon,
    /// The abandoned disk's retention has passed.
    Expire,
    /// Its Instance is bound to another node.
    Duplicate,
}

/// The next action. [`Action::Nothing`] and [`Action::Wait`] end the sequence until a fact changes.
#[must_use]
pub fn plan(facts: &Facts<'_>) -> Action {
    match facts.instance {
        None => gone::plan(facts),
        Some(instance) if instance.metadata.deletion_timestamp.is_some() => {
            deleting::plan(facts, instance)
        }
        Some(instance) => living::plan(facts, instance),
    }
}

impl<'a> Facts<'a> {
    fn domain_on(&self, node: &str) -> Option<&'a Domain> {
        let mut domains = self.domains.iter();
        domains.find(|at| at.node == node).map(|at| at.domain)
    }

    fn node(&self, node: &str) -> NodeFacts {
        (self.node)(node)
    }

    /// Waits for a node to carry out a Purge.
    fn purging(&self, node: &str) -> Action {
        let node_name = node.to_owned();
        Action::Wait(if self.node(node).ready {
            Pause::Purging(node_name)
        } else {
            Pause::PurgeSilent(node_name)
        })
    }
}

/// Whether the agent says that nothing of it is left.
fn is_purged(domain: &Domain) -> bool {
    domain.spec.disposition == Disposition::Purge
        && current_outcome(domain) == Some(Outcome::Purged)
}

/// When the Domain was found abandoned.
fn abandoned_at(domain: &Domain) -> Option<Timestamp> {
    let annotations = domain.metadata.annotations.as_ref()?;
    annotations.get(ABANDONED_ANNOTATION)?.parse().ok()
}

/// The existing Domain with another disposition; forfeited too, where its node was declared gone.
fn dispose(
    at: &DomainAt<'_>,
    why: WriteReason,
    disposition: Disposition,
    forfeited: bool,
) -> DomainWrite {
    let mut spec = at.domain.spec.clone();
    spec.disposition = disposition;
    spec.forfeited |= forfeited;
    DomainWrite {
        node: at.node.to_owned(),
        why,
        spec: Box::new(spec),
        abandoned_at: abandoned_at(at.domain),
    }
}

#[cfg(test)]
mod tests;
