//! An Instance that is to be there.

use super::{
    Action, DomainAt, DomainWrite, Facts, OrphanAt, Pause, WriteReason, abandoned_at, dispose,
    is_purged,
};
use crate::binding::Binding;
use crate::cluster::{BindingFault, current_outcome};
use crate::compile::{domain_spec, needs_update, over_existing};
use crate::key::{ObjectKey, has_finalizer, uid};
use crate::placement::Filter;
use crate::wait::Wait;
use kilonova_crds::names::{ADOPT_ANNOTATION, INSTANCE_FINALIZER};
use kilonova_crds::node::{Disposition, Domain, DomainSpec, Outcome, RootDisk};
use kilonova_crds::v1alpha1::{Instance, Orphan};

pub(super) fn plan(facts: &Facts<'_>, instance: &Instance) -> Action {
    if !has_finalizer(&instance.metadata, INSTANCE_FINALIZER) {
        return Action::AddFinalizer;
    }
    let binding = instance.status.as_ref().and_then(Binding::of);
    let wanted = domain_spec(instance, facts.namespace_uid);
    let Some((binding, wanted)) = binding.zip(wanted) else {
        return unbound(facts, instance);
    };
    let at = Bound {
        facts,
        instance,
        disk_created: binding.image.disk_created == Some(true),
        node: binding.node,
        wanted,
    };
    match facts.domain_on(&at.node) {
        Some(domain) => at.with_domain(domain),
        None => at.without_domain(),
    }
}

/// Nothing but a new binding is left to do, once nothing of it is anywhere.
fn unbound(facts: &Facts<'_>, instance: &Instance) -> Action {
    let lives = |at: &&DomainAt<'_>| at.domain.spec.disposition != Disposition::Purge;
    let has_disk = |at: &&DomainAt<'_>| at.domain.status.as_ref().is_some_and(|s| s.disk_created);
    let mut living = facts.domains.iter().filter(lives);
    let with_disk = facts.domains.iter().filter(lives).find(has_disk);
    if let Some(at) = with_disk.or_else(|| living.next()) {
        let node = at.node.to_owned();
        return Action::AdoptDomain { node };
    }
    for at in &facts.domains {
        let node = at.node.to_owned();
        if is_purged(at.domain) {
            return Action::DeleteDomain { node };
        }
        if facts.node(at.node).declared_gone && !at.domain.spec.forfeited {
            let write = dispose(at, WriteReason::Purge, Disposition::Purge, true);
            return Action::UpdateDomain(write);
        }
        if !at.domain.spec.forfeited {
            return facts.purging(at.node);
        }
    }
    match orphan(facts, instance) {
        Some(action) => action,
        None if !facts.orphans_known => Action::Wait(Pause::Orphan(Wait::OrphansUnreported)),
        None => Action::Bind,
    }
}

/// What an orphan that may be its means for it.
fn orphan(facts: &Facts<'_>, instance: &Instance) -> Option<Action> {
    let key = ObjectKey::of(&instance.metadata);
    let annotations = instance.metadata.annotations.as_ref();
    let told = annotations.and_then(|a| a.get(ADOPT_ANNOTATION));
    let same_namespace = |o: &Orphan| o.namespace == key.namespace;
    let is_its = |at: &&OrphanAt<'_>| {
        let o = at.orphan;
        let same_name = same_namespace(o) && o.name == key.name;
        o.uid == uid(&instance.metadata)
            || (same_name && o.namespace_uid == facts.namespace_uid)
            // Never another namespace's, whoever wrote the annotation.
            || (told == Some(&o.uid) && same_namespace(o))
    };
    if let Some(at) = facts.orphans.iter().find(is_its) {
        return Some(Action::AdoptOrphan {
            node: at.node.to_owned(),
            uid: at.orphan.uid.clone(),
        });
    }
    let may_be = |at: &&OrphanAt<'_>| same_namespace(at.orphan) && at.orphan.name == key.name;
    let at = facts.orphans.iter().find(may_be)?;
    Some(Action::Wait(Pause::Orphan(Wait::OrphanExists {
        node: at.node.to_owned(),
        instance: ObjectKey::new(&at.orphan.namespace, &at.orphan.name),
        uid: at.orphan.uid.clone(),
        why: None,
    })))
}

/// A bound Instance.
struct Bound<'a> {
    facts: &'a Facts<'a>,
    instance: &'a Instance,
    node: String,
    /// Its status says that a root disk was made: from then on nothing is decided anew.
    disk_created: bool,
    wanted: DomainSpec,
}

impl Bound<'_> {
    fn here<'a>(&'a self, domain: &'a Domain) -> DomainAt<'a> {
        DomainAt {
            node: &self.node,
            domain,
        }
    }

    fn with_domain(&self, domain: &Domain) -> Action {
        let reported = domain.status.as_ref().is_some_and(|s| s.disk_created);
        let disk_created = self.disk_created || reported;
        let gone = self.facts.node(&self.node).declared_gone;
        let at = self.here(domain);
        if domain.spec.disposition == Disposition::Purge && !disk_created {
            return self.refused(&at, gone);
        }
        if current_outcome(domain) == Some(Outcome::Refused) && !disk_created {
            let write = dispose(&at, WriteReason::Refused, Disposition::Purge, gone);
            return Action::UpdateDomain(write);
        }
        if domain.spec.forfeited && gone {
            return Action::Wait(Pause::NodeSilent(self.node.clone()));
        }
        if needs_update(&domain.spec, &self.wanted) || abandoned_at(domain).is_some() {
            let spec = over_existing(&domain.spec, self.wanted.clone());
            return Action::UpdateDomain(self.write(WriteReason::Change, spec));
        }
        self.elsewhere()
    }

    /// The node refused it: once nothing is left there, it is bound anew.
    fn refused(&self, at: &DomainAt<'_>, gone: bool) -> Action {
        if is_purged(at.domain) || (gone && at.domain.spec.forfeited) {
            return Action::TakeBack(BindingFault::Refused(self.node.clone()));
        }
        if gone {
            let write = dispose(at, WriteReason::Refused, Disposition::Purge, gone);
            return Action::UpdateDomain(write);
        }
        self.facts.purging(&self.node)
    }

    /// Domains of it on other nodes: never two that run. No disk goes while the Instance lives.
    fn elsewhere(&self) -> Action {
        for at in &self.facts.domains {
            if at.node == self.node {
                continue;
            }
            if is_purged(at.domain) {
                let node = at.node.to_owned();
                return Action::DeleteDomain { node };
            }
            if at.domain.spec.disposition == Disposition::Run {
                let write = dispose(at, WriteReason::Duplicate, Disposition::Release, false);
                return Action::UpdateDomain(write);
            }
        }
        Action::Nothing
    }

    fn without_domain(&self) -> Action {
        let node = self.facts.node(&self.node);
        if !self.disk_created
            && let Some(fault) = self.fault()
        {
            return Action::TakeBack(fault);
        }
        if !node.ready || node.declared_gone {
            return if self.disk_created || self.orphan_on(&self.node) {
                Action::Wait(Pause::NodeSilent(self.node.clone()))
            } else {
                Action::TakeBack(BindingFault::Node {
                    node: self.node.clone(),
                    filter: Filter::Ready,
                })
            };
        }
        if !node.namespace {
            return Action::Wait(Pause::NamespaceMissing(self.node.clone()));
        }
        let mut spec = self.wanted.clone();
        if self.orphan_on(&self.node) {
            spec.root_disk = RootDisk::Existing;
        }
        Action::CreateDomain(self.write(WriteReason::Dispatch, spec))
    }

    /// What stands against a binding that never got a Domain.
    fn fault(&self) -> Option<BindingFault> {
        let lives = |at: &&DomainAt<'_>| at.domain.spec.disposition != Disposition::Purge;
        if let Some(at) = self.facts.domains.iter().find(lives) {
            return Some(BindingFault::Elsewhere(at.node.to_owned()));
        }
        if self.orphan_on(&self.node) {
            return None;
        }
        let uid = uid(&self.instance.metadata);
        let mut orphans = self.facts.orphans.iter();
        if let Some(at) = orphans.find(|at| at.orphan.uid == uid) {
            return Some(BindingFault::Elsewhere(at.node.to_owned()));
        }
        self.facts.fault.clone()
    }

    /// Whether that node holds an orphan of this very Instance.
    fn orphan_on(&self, node: &str) -> bool {
        let uid = uid(&self.instance.metadata);
        let mut orphans = self.facts.orphans.iter();
        orphans.any(|at| at.node == node && at.orphan.uid == uid)
    }

    fn write(&self, why: WriteReason, spec: DomainSpec) -> DomainWrite {
        DomainWrite {
            node: self.node.clone(),
            why,
            spec: Box::new(spec),
            abandoned_at: None,
        }
    }
}
