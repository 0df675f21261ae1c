//! Domains whose Instance is gone: purged ones are deleted; those whose deletion nobody saw are
//! abandoned: shut down at once, purged when their retention has passed.

use super::{
    Action, DomainAt, DomainWrite, Facts, Pause, WriteReason, abandoned_at, dispose, is_purged,
};
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::node::Disposition;

/// The first thing to do, else the first to wait for.
pub(super) fn plan(facts: &Facts<'_>) -> Action {
    let mut wait = Action::Nothing;
    for at in &facts.domains {
        match step(facts, at) {
            Action::Nothing => {}
            Action::Wait(pause) => wait = earlier(wait, pause),
            action => return action,
        }
    }
    wait
}

/// Of two waits, the one that time ends first: somebody must look again then.
fn earlier(wait: Action, pause: Pause) -> Action {
    let ends = |pause: &Pause| match pause {
        Pause::Retained { until, .. } => *until,
        _ => Timestamp::MAX,
    };
    match wait {
        Action::Wait(before) if ends(&before) <= ends(&pause) => Action::Wait(before),
        _ => Action::Wait(pause),
    }
}

fn step(facts: &Facts<'_>, at: &DomainAt<'_>) -> Action {
    let node = at.node;
    let spec = &at.domain.spec;
    let gone = facts.node(node).declared_gone;
    if is_purged(at.domain) {
        let node = node.to_owned();
        return Action::DeleteDomain { node };
    }
    if spec.disposition == Disposition::Purge {
        return facts.purging(node);
    }
    let stamp = abandoned_at(at.domain);
    let (Some(since), true) = (stamp, spec.disposition == Disposition::Release) else {
        return abandon(at, stamp.unwrap_or(facts.now), gone);
    };
    if gone && !spec.forfeited {
        return abandon(at, since, gone);
    }
    let Some(retention) = facts.retention else {
        return Action::Nothing;
    };
    let until = since.saturating_add(retention).unwrap_or(Timestamp::MAX);
    if facts.now < until {
        let node = node.to_owned();
        return Action::Wait(Pause::Retained { node, until });
    }
    Action::UpdateDomain(dispose(at, WriteReason::Expire, Disposition::Purge, gone))
}

fn abandon(at: &DomainAt<'_>, since: Timestamp, gone: bool) -> Action {
    Action::UpdateDomain(DomainWrite {
        abandoned_at: Some(since),
        ..dispose(at, WriteReason::Abandon, Disposition::Release, gone)
    })
}
