#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod convergence;

use super::*;
use crate::key::uid;
use crate::placement::Filter;
use crate::testing::{bound, domain_of, instance, parse};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kilonova_crds::names::ADOPT_ANNOTATION;
use kilonova_crds::node::{DomainStatus, RootDisk};
use serde_json::json;
use std::collections::BTreeMap;

const READY: NodeFacts = NodeFacts {
    ready: true,
    declared_gone: false,
    namespace: true,
};
const SILENT: NodeFacts = NodeFacts {
    ready: false,
    ..READY
};
const GONE: NodeFacts = NodeFacts {
    declared_gone: true,
    ..SILENT
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The plan at second 100 with a retention of 50 s, all nodes being as `node` says.
fn plan_with(
    instance: Option<&Instance>,
    domains: &[(&str, &Domain)],
    orphans: &[(&str, &Orphan)],
    node: NodeFacts,
    change: impl FnOnce(&mut Facts<'_>),
) -> Action {
    let nodes = move |_: &str| node;
    let domains = domains.iter();
    let orphans = orphans.iter();
    let mut facts = Facts {
        instance,
        namespace_uid: "ns",
        domains: domains
            .map(|(node, domain)| DomainAt { node, domain })
            .collect(),
        orphans: orphans
            .map(|(node, orphan)| OrphanAt { node, orphan })
            .collect(),
        orphans_known: true,
        fault: None,
        node: &nodes,
        now: at(100),
        retention: Some(SignedDuration::from_secs(50)),
    };
    change(&mut facts);
    plan(&facts)
}

fn plan_of(instance: Option<&Instance>, domains: &[(&str, &Domain)], node: NodeFacts) -> Action {
    plan_with(instance, domains, &[], node, |_| {})
}

fn report(mut domain: Domain, outcome: Outcome) -> Domain {
    domain.status = Some(DomainStatus {
        observed_generation: domain.metadata.generation.unwrap(),
        outcome: Some(outcome),
        ..DomainStatus::default()
    });
    domain
}

fn disposed(instance: &Instance, disposition: Disposition) -> Domain {
    let mut domain = domain_of(instance);
    domain.spec.disposition = disposition;
    domain
}

fn with_disk(mut instance: Instance) -> Instance {
    let image = instance.status.as_mut().unwrap().image.as_mut().unwrap();
    image.disk_created = Some(true);
    instance
}

fn deleted(mut instance: Instance) -> Instance {
    instance.metadata.deletion_timestamp = Some(Time(at(0)));
    instance
}

fn stamped(mut domain: Domain, second: i64) -> Domain {
    let stamp = (ABANDONED_ANNOTATION.to_owned(), at(second).to_string());
    domain.metadata.annotations = Some(BTreeMap::from([stamp]));
    domain
}

fn orphan(uid: &str, namespace_uid: &str) -> Orphan {
    parse(json!({
        "uuid": "uuid-old", "namespace": "shop", "namespaceUid": namespace_uid, "name": "web", "uid": uid,
        "claim": {"vcpus": 1, "memory": "1Gi", "disk": "10Gi"},
    }))
}

/// What is written, whichever way.
fn write(action: Action) -> DomainWrite {
    match action {
        Action::CreateDomain(write) | Action::UpdateDomain(write) => write,
        other => panic!("{other:?} writes no Domain"),
    }
}

#[test]
fn the_way_of_an_instance() {
    let mut web = instance("web", json!({}));
    web.metadata.finalizers = None;
    assert_eq!(plan_of(Some(&web), &[], READY), Action::AddFinalizer);
    assert_eq!(
        plan_of(Some(&instance("web", json!({}))), &[], READY),
        Action::Bind
    );
    let web = bound("web", "n1", json!({}));
    let made = write(plan_of(Some(&web), &[], READY));
    assert_eq!(
        (made.node.as_str(), made.why),
        ("n1", WriteReason::Dispatch)
    );
    assert_eq!(*made.spec, domain_of(&web).spec);
    assert_eq!(
        plan_of(Some(&web), &[("n1", &domain_of(&web))], READY),
        Action::Nothing
    );
}

#[test]
fn a_change_of_the_spec_reaches_the_domain_once() {
    let web = bound("web", "n1", json!({}));
    let domain = domain_of(&web);
    let off = bound("web", "n1", json!({"power": "Off"}));
    let written = write(plan_of(Some(&off), &[("n1", &domain)], READY));
    assert_eq!(written.why, WriteReason::Change);
    let mut after = domain;
    after.spec = *written.spec;
    assert_eq!(
        plan_of(Some(&off), &[("n1", &after)], READY),
        Action::Nothing
    );
}

#[test]
fn a_deletion_purges_waits_and_lets_go() {
    let web = deleted(bound("web", "n1", json!({})));
    let domain = domain_of(&web);
    let ordered = write(plan_of(Some(&web), &[("n1", &domain)], READY));
    assert_eq!(ordered.why, WriteReason::Purge);
    assert_eq!(ordered.spec.disposition, Disposition::Purge);
    assert!(!ordered.spec.forfeited);
    let purging = disposed(&web, Disposition::Purge);
    let waits = |node| plan_of(Some(&web), &[("n1", &purging)], node);
    assert_eq!(waits(READY), Action::Wait(Pause::Purging("n1".into())));
    assert_eq!(waits(SILENT), Action::Wait(Pause::PurgeSilent("n1".into())));
    let purged = report(purging, Outcome::Purged);
    assert_eq!(
        plan_of(Some(&web), &[("n1", &purged)], READY),
        Action::RemoveFinalizer
    );
    let mut let_go = web;
    let_go.metadata.finalizers = None;
    assert_eq!(
        plan_of(Some(&let_go), &[("n1", &purged)], READY),
        Action::Nothing
    );
    let delete = Action::DeleteDomain { node: "n1".into() };
    assert_eq!(plan_of(None, &[("n1", &purged)], READY), delete);
    assert_eq!(plan_of(None, &[], READY), Action::Nothing);
}

#[test]
fn a_report_of_another_generation_is_no_proof() {
    let web = deleted(bound("web", "n1", json!({})));
    let mut purged = report(disposed(&web, Disposition::Purge), Outcome::Purged);
    purged.metadata.generation = Some(2);
    let action = plan_of(Some(&web), &[("n1", &purged)], READY);
    assert_eq!(action, Action::Wait(Pause::Purging("n1".into())));
    let ran = report(disposed(&web, Disposition::Run), Outcome::Purged);
    let abandoned = plan_of(None, &[("n1", &ran)], READY);
    assert_eq!(write(abandoned).why, WriteReason::Abandon);
    assert!(matches!(
        plan_of(Some(&web), &[("n1", &ran)], READY),
        Action::UpdateDomain(_)
    ));
}

#[test]
fn one_that_was_never_bound_goes_at_once_unless_a_node_may_have_it() {
    let web = deleted(instance("web", json!({})));
    assert_eq!(plan_of(Some(&web), &[], READY), Action::RemoveFinalizer);
    let unknown = plan_with(Some(&web), &[], &[], READY, |f| f.orphans_known = false);
    assert_eq!(
        unknown,
        Action::Wait(Pause::Orphan(Wait::OrphansUnreported))
    );
    let held = orphan("uid-web", "ns");
    let action = plan_with(Some(&web), &[], &[("n2", &held)], READY, |_| {});
    let made = write(action);
    assert_eq!(
        (made.node.as_str(), made.spec.uuid.as_str()),
        ("n2", "uuid-old")
    );
    assert_eq!(made.spec.disposition, Disposition::Purge);
    // Another's orphan of the same name is not its to purge.
    let other = orphan("uid-old", "ns");
    let action = plan_with(Some(&web), &[], &[("n2", &other)], READY, |_| {});
    assert_eq!(action, Action::RemoveFinalizer);
}

#[test]
fn a_domain_that_is_absent_at_deletion_is_made_again_to_be_purged() {
    let web = deleted(with_disk(bound("web", "n1", json!({}))));
    for node in [READY, SILENT] {
        let made = write(plan_of(Some(&web), &[], node));
        assert_eq!(made.spec.disposition, Disposition::Purge);
        assert!(!made.spec.forfeited);
    }
    let nowhere = NodeFacts {
        namespace: false,
        ..SILENT
    };
    let waits = Action::Wait(Pause::NamespaceMissing("n1".into()));
    assert_eq!(plan_of(Some(&web), &[], nowhere), waits);
}

#[test]
fn a_node_that_was_declared_gone_frees_what_is_deleted() {
    let web = deleted(bound("web", "n1", json!({})));
    let domain = domain_of(&web);
    let ordered = write(plan_of(Some(&web), &[("n1", &domain)], GONE));
    assert!(ordered.spec.forfeited && ordered.spec.disposition == Disposition::Purge);
    let mut forfeited = domain;
    forfeited.spec = *ordered.spec;
    assert_eq!(
        plan_of(Some(&web), &[("n1", &forfeited)], GONE),
        Action::RemoveFinalizer
    );
    // Gone, the Domain stays for the agent that may return.
    let waits = Action::Wait(Pause::PurgeSilent("n1".into()));
    assert_eq!(plan_of(None, &[("n1", &forfeited)], GONE), waits);
    assert!(write(plan_of(Some(&web), &[], GONE)).spec.forfeited);
    let nowhere = NodeFacts {
        namespace: false,
        ..GONE
    };
    assert_eq!(plan_of(Some(&web), &[], nowhere), Action::RemoveFinalizer);
}

#[test]
fn an_instance_that_is_not_deleted_loses_nothing_with_its_node() {
    let web = with_disk(bound("web", "n1", json!({})));
    let domain = domain_of(&web);
    for node in [SILENT, GONE] {
        assert_eq!(
            plan_of(Some(&web), &[("n1", &domain)], node),
            Action::Nothing
        );
        let waits = Action::Wait(Pause::NodeSilent("n1".into()));
        assert_eq!(plan_of(Some(&web), &[], node), waits);
    }
}

#[test]
fn an_abandoned_domain_is_released_kept_and_purged() {
    let web = bound("web", "n1", json!({}));
    let released = write(plan_of(None, &[("n1", &domain_of(&web))], READY));
    assert_eq!(
        (released.why, released.abandoned_at),
        (WriteReason::Abandon, Some(at(100)))
    );
    assert_eq!(released.spec.disposition, Disposition::Release);
    let kept = stamped(disposed(&web, Disposition::Release), 51);
    let waits = Action::Wait(Pause::Retained {
        node: "n1".into(),
        until: at(101),
    });
    assert_eq!(plan_of(None, &[("n1", &kept)], READY), waits);
    let for_ever = plan_with(None, &[("n1", &kept)], &[], READY, |f| f.retention = None);
    assert_eq!(for_ever, Action::Nothing);
    let expired = stamped(disposed(&web, Disposition::Release), 50);
    let purge = write(plan_of(None, &[("n1", &expired)], READY));
    assert_eq!(
        (purge.why, purge.spec.disposition),
        (WriteReason::Expire, Disposition::Purge)
    );
    assert_eq!(purge.abandoned_at, Some(at(50)));
    // Found again (a restored API): it runs, and the stamp goes.
    let back = write(plan_of(Some(&web), &[("n1", &kept)], READY));
    assert_eq!(
        (back.spec.disposition, back.abandoned_at),
        (Disposition::Run, None)
    );
}

#[test]
fn an_order_to_purge_outlives_an_instance_removed_by_force() {
    let web = bound("web", "n1", json!({}));
    let purging = disposed(&web, Disposition::Purge);
    let waits = Action::Wait(Pause::Purging("n1".into()));
    assert_eq!(plan_of(None, &[("n1", &purging)], READY), waits);
}

#[test]
fn a_refusal_is_purged_taken_back_and_forgotten() {
    let web = bound("web", "n1", json!({}));
    let refused = report(domain_of(&web), Outcome::Refused);
    let ordered = write(plan_of(Some(&web), &[("n1", &refused)], READY));
    assert_eq!(
        (ordered.why, ordered.spec.disposition),
        (WriteReason::Refused, Disposition::Purge)
    );
    let purging = disposed(&web, Disposition::Purge);
    let waits = Action::Wait(Pause::Purging("n1".into()));
    assert_eq!(plan_of(Some(&web), &[("n1", &purging)], READY), waits);
    let purged = report(purging, Outcome::Purged);
    let taken_back = Action::TakeBack(BindingFault::Refused("n1".into()));
    assert_eq!(plan_of(Some(&web), &[("n1", &purged)], READY), taken_back);
    let unbound = instance("web", json!({}));
    let delete = Action::DeleteDomain { node: "n1".into() };
    assert_eq!(plan_of(Some(&unbound), &[("n1", &purged)], READY), delete);
}

#[test]
fn nothing_with_a_disk_is_ever_taken_back_or_purged() {
    let web = with_disk(bound("web", "n1", json!({})));
    let fault = BindingFault::Mac("x".into());
    let action = plan_with(Some(&web), &[], &[], READY, |f| {
        f.fault = Some(fault.clone());
    });
    assert_eq!(write(action).spec.root_disk, RootDisk::Existing);
    let refused = report(domain_of(&web), Outcome::Refused);
    assert_eq!(
        plan_of(Some(&web), &[("n1", &refused)], READY),
        Action::Nothing
    );
    let purging = disposed(&web, Disposition::Purge);
    let undone = write(plan_of(Some(&web), &[("n1", &purging)], READY));
    assert_eq!(undone.spec.disposition, Disposition::Run);
    // The node's own word counts before the Instance's status has it.
    let fresh = bound("web", "n1", json!({}));
    let mut refused = report(domain_of(&fresh), Outcome::Refused);
    refused.status.as_mut().unwrap().disk_created = true;
    assert_eq!(
        plan_of(Some(&fresh), &[("n1", &refused)], READY),
        Action::Nothing
    );
}

#[test]
fn a_binding_without_a_domain_is_taken_back_when_it_is_not_good() {
    let web = bound("web", "n1", json!({}));
    let fault = BindingFault::Mac("x".into());
    let action = plan_with(Some(&web), &[], &[], READY, |f| {
        f.fault = Some(fault.clone());
    });
    assert_eq!(action, Action::TakeBack(fault));
    for node in [SILENT, GONE] {
        let filter = Filter::Ready;
        let fault = BindingFault::Node {
            node: "n1".into(),
            filter,
        };
        assert_eq!(plan_of(Some(&web), &[], node), Action::TakeBack(fault));
    }
    let nowhere = NodeFacts {
        namespace: false,
        ..READY
    };
    let waits = Action::Wait(Pause::NamespaceMissing("n1".into()));
    assert_eq!(plan_of(Some(&web), &[], nowhere), waits);
}

#[test]
fn a_domain_anywhere_forbids_another_binding() {
    let unbound = instance("web", json!({}));
    let running = domain_of(&bound("web", "n2", json!({})));
    let adopt = Action::AdoptDomain { node: "n2".into() };
    assert_eq!(plan_of(Some(&unbound), &[("n2", &running)], READY), adopt);
    let purging = disposed(&bound("web", "n2", json!({})), Disposition::Purge);
    let waits = Action::Wait(Pause::Purging("n2".into()));
    assert_eq!(plan_of(Some(&unbound), &[("n2", &purging)], READY), waits);
    let here = bound("web", "n1", json!({}));
    let elsewhere = Action::TakeBack(BindingFault::Elsewhere("n2".into()));
    assert_eq!(plan_of(Some(&here), &[("n2", &running)], READY), elsewhere);
}

#[test]
fn of_two_domains_the_one_that_is_not_bound_is_released_and_kept() {
    let web = bound("web", "n1", json!({}));
    let domain = domain_of(&web);
    let both = [("n1", &domain), ("n2", &domain)];
    let released = write(plan_of(Some(&web), &both, READY));
    assert_eq!(
        (released.node.as_str(), released.why),
        ("n2", WriteReason::Duplicate)
    );
    assert_eq!(released.spec.disposition, Disposition::Release);
    let kept = report(disposed(&web, Disposition::Release), Outcome::Released);
    assert_eq!(
        plan_of(Some(&web), &[("n1", &domain), ("n2", &kept)], READY),
        Action::Nothing
    );
    // When the Instance goes, both go.
    let web = deleted(web);
    let purged = report(disposed(&web, Disposition::Purge), Outcome::Purged);
    let ordered = write(plan_of(
        Some(&web),
        &[("n1", &purged), ("n2", &kept)],
        READY,
    ));
    assert_eq!(
        (ordered.node.as_str(), ordered.why),
        ("n2", WriteReason::Purge)
    );
}

#[test]
fn an_orphan_is_taken_over_by_its_own_or_by_whom_a_person_names() {
    let web = instance("web", json!({}));
    let adopts = |orphan: &Orphan, instance: &Instance| {
        plan_with(Some(instance), &[], &[("n2", orphan)], READY, |_| {})
    };
    let adopted = |uid: &str| Action::AdoptOrphan {
        node: "n2".into(),
        uid: uid.into(),
    };
    assert_eq!(
        adopts(&orphan("uid-web", "other"), &web),
        adopted("uid-web")
    );
    assert_eq!(adopts(&orphan("uid-old", "ns"), &web), adopted("uid-old"));
    let stranger = orphan("uid-old", "other");
    let Action::Wait(Pause::Orphan(wait)) = adopts(&stranger, &web) else {
        panic!("it does not wait");
    };
    assert_eq!(wait.reason(), "OrphanExists");
    let mut told = web.clone();
    let annotation = (ADOPT_ANNOTATION.to_owned(), "uid-old".to_owned());
    told.metadata.annotations = Some(BTreeMap::from([annotation]));
    assert_eq!(adopts(&stranger, &told), adopted("uid-old"));
    let mut foreign = stranger;
    foreign.namespace = "bank".into();
    assert_eq!(adopts(&foreign, &told), Action::Bind);
    let unknown = plan_with(Some(&web), &[], &[], READY, |f| f.orphans_known = false);
    assert_eq!(
        unknown,
        Action::Wait(Pause::Orphan(Wait::OrphansUnreported))
    );
}

#[test]
fn a_domain_made_again_for_its_orphan_makes_no_disk() {
    let web = bound("web", "n1", json!({}));
    let own = orphan(uid(&web.metadata), "ns");
    let fault = BindingFault::Mac("x".into());
    let action = plan_with(Some(&web), &[], &[("n1", &own)], READY, |f| {
        f.fault = Some(fault);
    });
    assert_eq!(write(action).spec.root_disk, RootDisk::Existing);
    let elsewhere = plan_with(Some(&web), &[], &[("n2", &own)], READY, |_| {});
    assert_eq!(
        elsewhere,
        Action::TakeBack(BindingFault::Elsewhere("n2".into()))
    );
}
