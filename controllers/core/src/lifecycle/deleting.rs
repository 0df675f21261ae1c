//! An Instance that is being deleted: every node that has, or may have, something of it is ordered
//! to purge it; our finalizer goes when each has reported so, or was declared gone.

use super::{Action, DomainWrite, Facts, Pause, WriteReason, dispose, is_purged};
use crate::compile::{domain_spec, orphan_spec};
use crate::key::{has_finalizer, uid};
use crate::wait::Wait;
use kilonova_crds::names::INSTANCE_FINALIZER;
use kilonova_crds::node::{Disposition, DomainSpec};
use kilonova_crds::v1alpha1::Instance;

pub(super) fn plan(facts: &Facts<'_>, instance: &Instance) -> Action {
    if !has_finalizer(&instance.metadata, INSTANCE_FINALIZER) {
        return Action::Nothing;
    }
    let order = order(facts);
    if let Some(action) = order.or_else(|| order_absent(facts, instance)) {
        return action;
    }
    let unfinished =
        |at: &&super::DomainAt<'_>| !(is_purged(at.domain) || at.domain.spec.forfeited);
    if let Some(at) = facts.domains.iter().find(unfinished) {
        return facts.purging(at.node);
    }
    if facts.domains.is_empty() && !facts.orphans_known && !is_bound(instance) {
        return Action::Wait(Pause::Orphan(Wait::OrphansUnreported));
    }
    Action::RemoveFinalizer
}

fn is_bound(instance: &Instance) -> bool {
    let status = instance.status.as_ref();
    status.is_some_and(|s| s.node_name.is_some())
}

/// Orders the Purge of a Domain that has no such order yet, or gives one up with its node.
fn order(facts: &Facts<'_>) -> Option<Action> {
    facts.domains.iter().find_map(|at| {
        let spec = &at.domain.spec;
        let ordered = spec.disposition == Disposition::Purge;
        let gone = facts.node(at.node).declared_gone;
        let given_up = spec.forfeited || is_purged(at.domain);
        let write = || dispose(at, WriteReason::Purge, Disposition::Purge, gone);
        (!ordered || (gone && !given_up)).then(|| Action::UpdateDomain(write()))
    })
}

/// Makes a Domain with the order where there is none: on the node that it is bound to, and on each
/// that holds an orphan of its uid.
fn order_absent(facts: &Facts<'_>, instance: &Instance) -> Option<Action> {
    let bound = domain_spec(instance, facts.namespace_uid);
    let node = instance
        .status
        .as_ref()
        .and_then(|s| s.node_name.as_deref());
    let bound = node.zip(bound);
    let orphans = facts.orphans.iter();
    let orphans = orphans
        .filter(|at| at.orphan.uid == uid(&instance.metadata))
        .map(|at| (at.node, orphan_spec(at.orphan)));
    let mut absent = bound
        .into_iter()
        .chain(orphans)
        .filter(|(node, _)| facts.domain_on(node).is_none());
    absent.find_map(|(node, spec)| order_one(facts, node, spec))
}

/// A node that was declared gone and whose namespace is gone too has nobody who could be told.
fn order_one(facts: &Facts<'_>, node: &str, mut spec: DomainSpec) -> Option<Action> {
    let known = facts.node(node);
    if !known.namespace {
        let pause = Pause::NamespaceMissing(node.to_owned());
        return (!known.declared_gone).then_some(Action::Wait(pause));
    }
    spec.disposition = Disposition::Purge;
    spec.forfeited = known.declared_gone;
    Some(Action::CreateDomain(DomainWrite {
        node: node.to_owned(),
        why: WriteReason::Purge,
        spec: Box::new(spec),
        abandoned_at: None,
    }))
}
