//! Instance.status: one total pure function of everything that is known.
//!
//! The binding in it is copied, never computed anew; the conditions are computed anew each time,
//! and keep their transition times. `Ready` is True only when what is observed is what is declared:
//! the Domain's spec is what the Instance compiles to, its status is of that generation, its outcome
//! is Running and its power state the declared one.

use crate::binding::{Binding, taken_back};
use crate::cluster::{BindingFault, current_outcome};
use crate::compile::{domain_spec, needs_update};
use crate::conditions::{Verdict as Readiness, condition};
use crate::lifecycle::Pause;
use crate::wait::Wait;
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::condition::{carry_transition_times, find, types};
use kilonova_crds::node::reason::USER_DATA_MISSING;
use kilonova_crds::node::{Domain, DomainStatus, Outcome};
use kilonova_crds::v1alpha1::{Instance, InstanceStatus, Power, PowerState};
use kilonova_crds::{Condition, ConditionStatus};

/// What the scheduler says of the Instance now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict<'a> {
    /// The binding that is in its status stays, or nothing was decided yet.
    Keep,
    /// It has no binding, for that reason.
    Waits(&'a Wait),
    /// It gets this binding with this very write.
    Binds(&'a Binding),
    /// It loses its binding with this very write; the uuid stays.
    TakesBack(&'a BindingFault),
}

/// What the status is a function of.
#[derive(Clone, Copy, Debug)]
pub struct StatusInput<'a> {
    /// The Instance, its previous status included.
    pub instance: &'a Instance,
    /// What the scheduler says.
    pub verdict: Verdict<'a>,
    /// Its Domain in the namespace of the node that it is bound to.
    pub domain: Option<&'a Domain>,
    /// Whether the Lease of that node is fresh; `true` while it is not bound.
    pub hypervisor_ready: bool,
    /// What the lifecycle waits for, if it does.
    pub pause: Option<&'a Pause>,
    /// The time for conditions whose status changes now.
    pub now: Timestamp,
}

/// The status.
#[must_use]
pub fn instance_status(input: &StatusInput<'_>) -> InstanceStatus {
    let previous = input.instance.status.clone().unwrap_or_default();
    let mut status = match input.verdict {
        Verdict::Keep | Verdict::Waits(_) => previous.clone(),
        Verdict::Binds(binding) => binding.to_status(&previous),
        Verdict::TakesBack(_) => taken_back(&previous),
    };
    status.observed_generation = input.instance.metadata.generation.unwrap_or_default();
    let bound = Bound::new(input, &mut status);
    status.power_state = bound.as_ref().and_then(Bound::power_state);
    let mut next = match &bound {
        Some(bound) => bound.conditions(input),
        None => unbound_conditions(input, &previous),
    };
    let ready = readiness(input, bound.as_ref(), &previous);
    next.extend(ready.into_conditions(input.now));
    status.conditions = carry_transition_times(&previous.conditions, next);
    status
}

/// Whether the new status is worth a write: something that anyone could read differs.
#[must_use]
pub fn differs(old: Option<&InstanceStatus>, new: &InstanceStatus) -> bool {
    old != Some(new)
}

/// Whether an Instance's status says that its node has taken the user data of `userDataFrom`.
#[must_use]
pub fn user_data_taken(status: Option<&InstanceStatus>) -> bool {
    let taken = status.and_then(|s| find(&s.conditions, types::USER_DATA_READY));
    taken.is_some_and(|c| c.status == ConditionStatus::True)
}

/// Whether the node of that Domain waits for user data that is not in its namespace.
#[must_use]
pub fn lacks_user_data(domain: &Domain) -> bool {
    let reason = domain.status.as_ref().and_then(|s| s.reason.as_deref());
    reason == Some(USER_DATA_MISSING)
}

/// A bound Instance with its Domain.
struct Bound<'a> {
    node: String,
    domain: Option<&'a Domain>,
    seen: Option<&'a DomainStatus>,
    ready: bool,
    disk_created: bool,
    has_interfaces: bool,
}

impl<'a> Bound<'a> {
    /// `None`: it is not bound. Notes in the status that the root disk was made.
    fn new(input: &StatusInput<'a>, status: &mut InstanceStatus) -> Option<Self> {
        let Binding {
            node, interfaces, ..
        } = Binding::of(status)?;
        // A binding that is new has no Domain of its own yet.
        let is_new = matches!(input.verdict, Verdict::Binds(_));
        let domain = input.domain.filter(|_| !is_new);
        let seen = domain.and_then(|d| d.status.as_ref());
        let image = status.image.as_mut()?;
        if seen.is_some_and(|s| s.disk_created) {
            image.disk_created = Some(true);
        }
        Some(Self {
            node,
            domain,
            seen,
            ready: input.hypervisor_ready,
            disk_created: image.disk_created == Some(true),
            has_interfaces: !interfaces.is_empty(),
        })
    }

    fn power_state(&self) -> Option<PowerState> {
        if self.ready {
            self.seen.and_then(|s| s.power_state)
        } else {
            self.domain.map(|_| PowerState::Unknown)
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        self.domain.and_then(current_outcome)
    }

    fn conditions(&self, input: &StatusInput<'_>) -> Vec<Condition> {
        let of = |type_: &str, holds: bool, reason: &str| {
            let reported = self.seen.and_then(|s| find(&s.conditions, type_));
            match reported.filter(|_| !holds) {
                Some(c) => condition(type_, c.status, &c.reason, &c.message, input.now),
                None if holds => condition(type_, ConditionStatus::True, reason, "", input.now),
                None => condition(type_, ConditionStatus::Unknown, "Pending", "", input.now),
            }
        };
        let runs = self.outcome() == Some(Outcome::Running);
        let scheduled = ConditionStatus::True;
        let mut conditions = vec![
            condition(types::SCHEDULED, scheduled, "Bound", "", input.now),
            of(types::IMAGE_READY, runs || self.disk_created, "DiskCreated"),
            of(
                types::NETWORK_READY,
                runs || !self.has_interfaces,
                "Plugged",
            ),
        ];
        if input.instance.spec.user_data_from.is_some() {
            conditions.push(self.user_data(input, runs));
        }
        conditions
    }

    /// Whether the node has taken the user data, and needs it in the API no longer. It has when it
    /// runs; that it lost it again is what it says itself.
    fn user_data(&self, input: &StatusInput<'_>, runs: bool) -> Condition {
        let of = |status, reason: &str, message: String| {
            condition(types::USER_DATA_READY, status, reason, message, input.now)
        };
        if let Some(Pause::UserData(wait)) = input.pause {
            return of(ConditionStatus::False, wait.reason(), wait.to_string());
        }
        let lost = self.domain.filter(|domain| lacks_user_data(domain));
        match lost.and(self.seen) {
            Some(seen) => {
                let message = seen.message.clone().unwrap_or_default();
                of(ConditionStatus::False, USER_DATA_MISSING, message)
            }
            None if runs || user_data_taken(input.instance.status.as_ref()) => {
                of(ConditionStatus::True, "Delivered", String::new())
            }
            None => of(ConditionStatus::Unknown, "Pending", String::new()),
        }
    }

    /// Whether it is what it is declared to be, on a node that answers.
    fn readiness(&self, input: &StatusInput<'_>, status: &DomainStatus) -> Readiness {
        let reason = status.reason.as_deref();
        let message = status.message.as_deref().unwrap_or_default();
        match (self.outcome(), reason) {
            (Some(Outcome::Running), _) => match declared(input.instance, status.power_state) {
                Some(reason) => Readiness::ready(reason),
                None => Readiness::not_ready(reason.unwrap_or("PowerDiffers"), message),
            },
            (Some(Outcome::Refused), _) => Readiness::not_ready("Refused", message),
            (Some(Outcome::Released | Outcome::Purged), _) => {
                Readiness::not_ready("Updating", "the node no longer has the domain")
            }
            (None, Some("DiskMissing")) => Readiness::stalled("DiskMissing", message),
            (None, reason) => Readiness::not_ready(reason.unwrap_or("Starting"), message),
        }
    }
}

/// The reason of a True Ready: the power state is what is declared. `None`: it is not.
fn declared(instance: &Instance, observed: Option<PowerState>) -> Option<&'static str> {
    match (instance.spec.power(), observed?) {
        (Power::On, PowerState::Running) => Some("Running"),
        (Power::Off, PowerState::Shutoff | PowerState::Crashed) => Some("Stopped"),
        (Power::Paused, PowerState::Paused) => Some("Paused"),
        (Power::Suspended, PowerState::Suspended) => Some("Suspended"),
        _ => None,
    }
}

fn readiness(
    input: &StatusInput<'_>,
    bound: Option<&Bound<'_>>,
    previous: &InstanceStatus,
) -> Readiness {
    if input.instance.metadata.deletion_timestamp.is_some() {
        let why = input.pause.map(ToString::to_string);
        return Readiness::not_ready("Terminating", why.unwrap_or_default());
    }
    let Some(bound) = bound else {
        return unbound_readiness(input, previous);
    };
    if !bound.ready {
        let node = &bound.node;
        let message = format!("node {node:?} does not answer: what runs there is not seen");
        return Readiness::unknown("NodeUnreachable", message);
    }
    if let Some(Pause::UserData(wait)) = input.pause {
        return Readiness::not_ready(wait.reason(), wait.to_string());
    }
    let Some(domain) = bound.domain else {
        return match input.pause {
            Some(pause) => Readiness::not_ready("Dispatching", pause.to_string()),
            // As with a Domain that the node has said nothing of yet: making it is no write here.
            None => Readiness::not_ready("Starting", ""),
        };
    };
    if is_outdated(input.instance, domain) {
        return Readiness::not_ready("Updating", "the change is on its way to the node");
    }
    let generation = domain.metadata.generation.unwrap_or_default();
    match bound.seen {
        None => Readiness::not_ready("Starting", ""),
        Some(seen) if seen.observed_generation == generation => bound.readiness(input, seen),
        Some(seen) if seen.observed_generation <= 0 => Readiness::not_ready("Starting", ""),
        Some(_) => Readiness::not_ready("Updating", "the node has not carried out the change yet"),
    }
}

/// Whether the Domain is not what the Instance compiles to.
fn is_outdated(instance: &Instance, domain: &Domain) -> bool {
    let namespace_uid = &domain.spec.instance.namespace_uid;
    let wanted = domain_spec(instance, namespace_uid);
    wanted.is_none_or(|wanted| needs_update(&domain.spec, &wanted))
}

fn unbound_readiness(input: &StatusInput<'_>, previous: &InstanceStatus) -> Readiness {
    let (wait, message) = match input.verdict {
        Verdict::Waits(wait) => (Some(wait), wait.to_string()),
        Verdict::TakesBack(fault) => {
            return Readiness::not_ready("TakenBack", fault.to_string());
        }
        Verdict::Keep | Verdict::Binds(_) => match input.pause {
            Some(Pause::Orphan(wait)) => (Some(wait), wait.to_string()),
            Some(pause) => (None, pause.to_string()),
            None => return kept(previous),
        },
    };
    match wait {
        Some(wait) if wait.stalled() => Readiness::stalled(wait.reason(), message),
        Some(wait) => Readiness::not_ready(wait.reason(), message),
        None => Readiness::not_ready("Pending", message),
    }
}

/// While nothing new was decided, what was said last stays.
fn kept(previous: &InstanceStatus) -> Readiness {
    let last = find(&previous.conditions, types::READY);
    match last.filter(|c| c.status == ConditionStatus::False && previous.node_name.is_none()) {
        Some(c) if find(&previous.conditions, types::STALLED).is_some() => {
            Readiness::stalled(&c.reason, &c.message)
        }
        Some(c) => Readiness::not_ready(&c.reason, &c.message),
        None => Readiness::not_ready("Pending", ""),
    }
}

fn unbound_conditions(input: &StatusInput<'_>, previous: &InstanceStatus) -> Vec<Condition> {
    let wait = match (input.verdict, input.pause) {
        (Verdict::Waits(wait), _) | (_, Some(Pause::Orphan(wait))) => Some(wait),
        (Verdict::Keep, _) => return kept_conditions(input, previous),
        _ => None,
    };
    let of = |type_: &str, concerned: bool| match wait.filter(|_| concerned) {
        Some(wait) => {
            let status = ConditionStatus::False;
            condition(type_, status, wait.reason(), wait.to_string(), input.now)
        }
        None => condition(type_, ConditionStatus::Unknown, "Pending", "", input.now),
    };
    let scheduled = match input.verdict {
        Verdict::TakesBack(fault) => {
            let (status, message) = (ConditionStatus::False, fault.to_string());
            condition(types::SCHEDULED, status, "TakenBack", message, input.now)
        }
        _ => of(types::SCHEDULED, wait.is_some()),
    };
    let mut conditions = vec![
        scheduled,
        of(types::IMAGE_READY, wait.is_some_and(Wait::concerns_image)),
        of(
            types::NETWORK_READY,
            wait.is_some_and(Wait::concerns_network),
        ),
    ];
    if input.instance.spec.user_data_from.is_some() {
        let concerned = wait.is_some_and(Wait::concerns_user_data);
        conditions.push(of(types::USER_DATA_READY, concerned));
    }
    conditions
}

fn kept_conditions(input: &StatusInput<'_>, previous: &InstanceStatus) -> Vec<Condition> {
    let of = |type_: &str| {
        let last = find(&previous.conditions, type_);
        let last = last.filter(|_| previous.node_name.is_none()).cloned();
        last.unwrap_or_else(|| condition(type_, ConditionStatus::Unknown, "Pending", "", input.now))
    };
    let mut kept = vec![
        of(types::SCHEDULED),
        of(types::IMAGE_READY),
        of(types::NETWORK_READY),
    ];
    if input.instance.spec.user_data_from.is_some() {
        kept.push(of(types::USER_DATA_READY));
    }
    kept
}

#[cfg(test)]
mod tests;
