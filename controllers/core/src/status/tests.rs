#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod laws;

use super::*;
use crate::placement::{Filter, NoValidHost};
use crate::testing::{bound, domain_of, instance};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kilonova_crds::node::{Disposition, RootDisk};
use serde_json::json;

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn input<'a>(instance: &'a Instance, domain: Option<&'a Domain>) -> StatusInput<'a> {
    StatusInput {
        instance,
        verdict: Verdict::Keep,
        domain,
        hypervisor_ready: true,
        pause: None,
        now: now(),
    }
}

/// Status, reason and message of a condition.
fn of(status: &InstanceStatus, type_: &str) -> (ConditionStatus, String, String) {
    let c = find(&status.conditions, type_).unwrap();
    (c.status, c.reason.clone(), c.message.clone())
}

fn ready(input: &StatusInput<'_>) -> (ConditionStatus, String) {
    let (status, reason, message) = of(&instance_status(input), types::READY);
    assert!(status != ConditionStatus::True || message.is_empty());
    (status, reason)
}

fn reported(instance: &Instance, report: DomainStatus) -> Domain {
    let mut domain = domain_of(instance);
    domain.status = Some(report);
    domain
}

fn running() -> DomainStatus {
    DomainStatus {
        observed_generation: 1,
        power_state: Some(PowerState::Running),
        outcome: Some(Outcome::Running),
        disk_created: true,
        ..DomainStatus::default()
    }
}

fn stopped_by(reason: &str) -> DomainStatus {
    DomainStatus {
        observed_generation: 1,
        power_state: Some(PowerState::Shutoff),
        reason: Some(reason.into()),
        message: Some("why".into()),
        ..DomainStatus::default()
    }
}

#[test]
fn each_declared_power_state_is_ready_with_its_reason() {
    for (power, observed, want) in [
        ("On", PowerState::Running, Some("Running")),
        ("Off", PowerState::Shutoff, Some("Stopped")),
        ("Paused", PowerState::Paused, Some("Paused")),
        ("Suspended", PowerState::Suspended, Some("Suspended")),
        ("On", PowerState::Shutoff, None),
        ("Off", PowerState::Running, None),
        ("Suspended", PowerState::Shutoff, None),
    ] {
        let web = bound("web", "n1", json!({"power": power}));
        let report = DomainStatus {
            power_state: Some(observed),
            ..running()
        };
        let domain = reported(&web, report);
        let want = match want {
            Some(reason) => (ConditionStatus::True, reason.to_owned()),
            None => (ConditionStatus::False, "PowerDiffers".to_owned()),
        };
        assert_eq!(
            ready(&input(&web, Some(&domain))),
            want,
            "{power} {observed:?}"
        );
    }
}

#[test]
fn running_takes_over_that_the_disk_was_made_and_nothing_else() {
    let web = bound("web", "n1", json!({}));
    let domain = reported(&web, running());
    let status = instance_status(&input(&web, Some(&domain)));
    let mut binding = Binding::of(&status).unwrap();
    assert_eq!(binding.image.disk_created, Some(true));
    binding.image.disk_created = None;
    assert_eq!(Some(binding), Binding::of(web.status.as_ref().unwrap()));
    assert_eq!(status.power_state, Some(PowerState::Running));
    for type_ in [types::SCHEDULED, types::IMAGE_READY, types::NETWORK_READY] {
        assert_eq!(of(&status, type_).0, ConditionStatus::True, "{type_}");
    }
    assert!(find(&status.conditions, types::STALLED).is_none());
}

#[test]
fn a_domain_that_is_not_what_is_declared_is_not_ready() {
    let web = bound("web", "n1", json!({}));
    let other = bound("web", "n1", json!({"terminationGracePeriodSeconds": 1}));
    let updating = (ConditionStatus::False, "Updating".to_owned());
    assert_eq!(
        ready(&input(&web, Some(&reported(&other, running())))),
        updating
    );
    let mut domain = reported(&web, running());
    domain.metadata.generation = Some(2);
    assert_eq!(ready(&input(&web, Some(&domain))), updating);
    let mut purging = reported(&web, running());
    purging.spec.disposition = Disposition::Purge;
    assert_eq!(ready(&input(&web, Some(&purging))), updating);
}

#[test]
fn a_disk_that_was_made_leaves_the_domain_as_declared() {
    let mut web = bound("web", "n1", json!({}));
    let domain = reported(&web, running());
    web.status = Some(instance_status(&input(&web, Some(&domain))));
    assert_eq!(domain.spec.root_disk, RootDisk::Create);
    let (status, _) = ready(&input(&web, Some(&domain)));
    assert_eq!(status, ConditionStatus::True);
}

#[test]
fn a_stale_node_says_unknown() {
    let web = bound("web", "n1", json!({}));
    let domain = reported(&web, running());
    let status = instance_status(&StatusInput {
        hypervisor_ready: false,
        ..input(&web, Some(&domain))
    });
    assert_eq!(status.power_state, Some(PowerState::Unknown));
    let (ready, reason, message) = of(&status, types::READY);
    assert_eq!(
        (ready, reason.as_str()),
        (ConditionStatus::Unknown, "NodeUnreachable")
    );
    assert!(message.contains("\"n1\" does not answer"));
}

#[test]
fn what_the_agent_says_is_passed_on() {
    let web = bound("web", "n1", json!({}));
    for (reason, stalled) in [("GuestStopped", false), ("DiskMissing", true)] {
        let domain = reported(&web, stopped_by(reason));
        let status = instance_status(&input(&web, Some(&domain)));
        let said = (ConditionStatus::False, reason.to_owned(), "why".to_owned());
        assert_eq!(of(&status, types::READY), said);
        assert_eq!(find(&status.conditions, types::STALLED).is_some(), stalled);
    }
    let refused = reported(
        &web,
        DomainStatus {
            outcome: Some(Outcome::Refused),
            ..stopped_by("InsufficientMemory")
        },
    );
    assert_eq!(ready(&input(&web, Some(&refused))).1, "Refused");
    let mut report = stopped_by("ImageFailed");
    let message = "404 Not Found";
    report.conditions = vec![condition(
        types::IMAGE_READY,
        ConditionStatus::False,
        "ImageFailed",
        message,
        now(),
    )];
    let domain = reported(&web, report);
    let status = instance_status(&input(&web, Some(&domain)));
    let said = (
        ConditionStatus::False,
        "ImageFailed".to_owned(),
        message.to_owned(),
    );
    assert_eq!(of(&status, types::IMAGE_READY), said);
}

#[test]
fn before_the_first_report_it_is_on_its_way() {
    let web = bound("web", "n1", json!({}));
    assert_eq!(ready(&input(&web, None)).1, "Starting");
    assert_eq!(ready(&input(&web, Some(&domain_of(&web)))).1, "Starting");
    let silent = Pause::NamespaceMissing("n1".into());
    let waiting = StatusInput {
        pause: Some(&silent),
        ..input(&web, None)
    };
    let (_, _, message) = of(&instance_status(&waiting), types::READY);
    assert_eq!(message, "waiting for the namespace of node \"n1\"");
}

#[test]
fn a_wait_is_told_where_it_belongs() {
    let web = instance("web", json!({}));
    let full = Wait::NoValidHost(NoValidHost {
        counts: vec![(Filter::Memory, 2), (Filter::Cordoned, 1)],
    });
    let status = instance_status(&StatusInput {
        verdict: Verdict::Waits(&full),
        ..input(&web, None)
    });
    let message = "0/3 hypervisors: 2 too little memory, 1 cordoned".to_owned();
    let said = (ConditionStatus::False, "NoValidHost".to_owned(), message);
    assert_eq!(of(&status, types::READY), said);
    assert_eq!(of(&status, types::SCHEDULED), said);
    assert_eq!(of(&status, types::IMAGE_READY).0, ConditionStatus::Unknown);
    let outside = Wait::AddressOutside {
        ip: "10.0.0.0".into(),
        network: "blue".into(),
        why: "no".into(),
    };
    let status = instance_status(&StatusInput {
        verdict: Verdict::Waits(&outside),
        ..input(&web, None)
    });
    assert_eq!(of(&status, types::NETWORK_READY).1, "AddressOutside");
    assert_eq!(of(&status, types::STALLED).0, ConditionStatus::True);
}

#[test]
fn a_binding_that_is_taken_back_leaves_the_uuid() {
    let web = bound("web", "n1", json!({}));
    let fault = BindingFault::Refused("n1".into());
    let status = instance_status(&StatusInput {
        verdict: Verdict::TakesBack(&fault),
        ..input(&web, None)
    });
    assert_eq!(status.uuid.as_deref(), Some("uid-web"));
    assert_eq!(
        (status.node_name.as_ref(), status.claim.as_ref()),
        (None, None)
    );
    assert!(status.interfaces.is_empty() && status.addresses.is_none());
    assert_eq!(of(&status, types::SCHEDULED).1, "TakenBack");
}

#[test]
fn a_deletion_says_what_it_waits_for() {
    let mut web = bound("web", "n1", json!({}));
    web.metadata.deletion_timestamp = Some(Time(now()));
    let domain = reported(&web, running());
    let pause = Pause::PurgeSilent("n1".into());
    let status = instance_status(&StatusInput {
        hypervisor_ready: false,
        pause: Some(&pause),
        ..input(&web, Some(&domain))
    });
    let (ready, reason, message) = of(&status, types::READY);
    assert_eq!(
        (ready, reason.as_str()),
        (ConditionStatus::False, "Terminating")
    );
    assert!(message.contains("out-of-service"), "{message}");
    assert_eq!(status.power_state, Some(PowerState::Unknown));
}

#[test]
fn times_move_only_with_a_status_and_nothing_new_is_no_difference() {
    let mut web = bound("web", "n1", json!({}));
    let domain = reported(&web, running());
    let first = instance_status(&input(&web, Some(&domain)));
    assert!(differs(web.status.as_ref(), &first));
    web.status = Some(first.clone());
    let later = StatusInput {
        now: Timestamp::from_second(9).unwrap(),
        ..input(&web, Some(&domain))
    };
    assert!(!differs(Some(&first), &instance_status(&later)));
    let stale = instance_status(&StatusInput {
        hypervisor_ready: false,
        ..later
    });
    let time = |type_| {
        find(&stale.conditions, type_)
            .unwrap()
            .last_transition_time
            .0
    };
    assert_eq!(
        (time(types::READY), time(types::SCHEDULED)),
        (later.now, now())
    );
}

#[test]
fn user_data_is_delivered_when_it_runs_and_stays_so_until_the_node_lost_it() {
    let from = json!({"userDataFrom": {"secretKeyRef": {"name": "boot", "key": "script"}}});
    let user_data = |input: &StatusInput<'_>| {
        let status = instance_status(input);
        let (condition, reason, _) = of(&status, types::USER_DATA_READY);
        (condition, reason, user_data_taken(Some(&status)))
    };
    let (pending, delivered) = (
        (ConditionStatus::Unknown, "Pending".to_owned(), false),
        (ConditionStatus::True, "Delivered".to_owned(), true),
    );
    let missing = (ConditionStatus::False, "UserDataMissing".to_owned(), false);
    let waiting = instance("web", from.clone());
    let wait = Wait::SecretMissing("boot".into());
    let mut waits = input(&waiting, None);
    waits.verdict = Verdict::Waits(&wait);
    assert_eq!(user_data(&waits), missing);
    assert_eq!(ready(&waits).1, "UserDataMissing");

    let mut web = bound("web", "n1", from);
    assert_eq!(user_data(&input(&web, None)), pending);
    let pause = Pause::UserData(wait.clone());
    let mut paused = input(&web, None);
    paused.pause = Some(&pause);
    assert_eq!(user_data(&paused), missing);
    assert_eq!(ready(&paused).1, "UserDataMissing");

    let domain = reported(&web, running());
    web.status = Some(instance_status(&input(&web, Some(&domain))));
    assert_eq!(user_data(&input(&web, Some(&domain))), delivered);
    let off = reported(&web, stopped_by("Starting"));
    assert_eq!(user_data(&input(&web, Some(&off))), delivered);
    let lost = reported(&web, stopped_by(USER_DATA_MISSING));
    assert!(lacks_user_data(&lost) && !lacks_user_data(&domain));
    assert_eq!(user_data(&input(&web, Some(&lost))), missing);

    let without = bound("web", "n1", json!({}));
    let status = instance_status(&input(&without, Some(&domain)));
    assert!(find(&status.conditions, types::USER_DATA_READY).is_none());
}
