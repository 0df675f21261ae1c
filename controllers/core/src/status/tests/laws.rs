//! What holds for every input.

use super::*;
use crate::key::ObjectKey;
use proptest::prelude::*;

fn power() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(prop::sample::select(vec![
        "On",
        "Off",
        "Paused",
        "Suspended",
    ]))
}

fn power_state() -> impl Strategy<Value = Option<PowerState>> {
    prop::option::of(prop::sample::select(vec![
        PowerState::Running,
        PowerState::Paused,
        PowerState::Shutoff,
        PowerState::Crashed,
        PowerState::Suspended,
        PowerState::Unknown,
    ]))
}

fn outcome() -> impl Strategy<Value = Option<Outcome>> {
    prop::option::of(prop::sample::select(vec![
        Outcome::Running,
        Outcome::Released,
        Outcome::Purged,
        Outcome::Refused,
    ]))
}

prop_compose! {
    fn report()(
        observed_generation in -1..3i64,
        power_state in power_state(),
        outcome in outcome(),
        reason in prop::option::of("[A-Z][a-zA-Z]{0,8}"),
        message in prop::option::of("\\PC{0,20}"),
        disk_created: bool,
        image in prop::option::of(any::<bool>()),
    ) -> DomainStatus {
        let image = image.map(|ok| condition(types::IMAGE_READY, ok.into(), "X", "y", now()));
        DomainStatus {
            observed_generation, power_state, outcome, reason, message, disk_created,
            conditions: image.into_iter().collect(),
        }
    }
}

prop_compose! {
    fn an_instance()(
        is_bound: bool,
        power in power(),
        generation in 0..4i64,
        deleting: bool,
        disk_created in prop::option::of(any::<bool>()),
    ) -> Instance {
        let spec = power.map_or_else(|| json!({}), |p| json!({"power": p}));
        let mut it = if is_bound { bound("web", "n1", spec) } else { instance("web", spec) };
        it.metadata.generation = Some(generation);
        it.metadata.deletion_timestamp = deleting.then(|| Time(now()));
        if let Some(image) = it.status.as_mut().and_then(|s| s.image.as_mut()) {
            image.disk_created = disk_created;
        }
        it
    }
}

prop_compose! {
    fn a_domain()(
        report in prop::option::of(report()),
        generation in 0..3i64,
        disposition in prop::sample::select(vec![Disposition::Run, Disposition::Release, Disposition::Purge]),
        root_disk in prop::sample::select(vec![RootDisk::Create, RootDisk::Existing]),
        power in power(),
    ) -> Domain {
        let spec = power.map_or_else(|| json!({}), |p| json!({"power": p}));
        let mut domain = domain_of(&bound("web", "n1", spec));
        domain.metadata.generation = Some(generation);
        domain.spec.disposition = disposition;
        domain.spec.root_disk = root_disk;
        domain.status = report;
        domain
    }
}

fn waits() -> [Wait; 3] {
    [
        Wait::OrphansUnreported,
        Wait::FlavorMissing("small".into()),
        Wait::AddressOutside {
            ip: "x".into(),
            network: "blue".into(),
            why: "no".into(),
        },
    ]
}

fn pauses() -> [Pause; 3] {
    let orphan = Wait::OrphanExists {
        node: "n2".into(),
        instance: ObjectKey::new("shop", "web"),
        uid: "u".into(),
        why: None,
    };
    [
        Pause::Orphan(orphan),
        Pause::Purging("n1".into()),
        Pause::NodeSilent("n1".into()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn holds(
        mut it in an_instance(),
        domain in prop::option::of(a_domain()),
        verdict in 0..6usize,
        pause in 0..4usize,
        hypervisor_ready: bool,
    ) {
        let (waits, pauses) = (waits(), pauses());
        let binding = Binding::of(bound("web", "n2", json!({})).status.as_ref().unwrap()).unwrap();
        let fault = BindingFault::Refused("n1".into());
        let verdict = match verdict {
            0 => Verdict::Keep,
            1 => Verdict::Binds(&binding),
            2 => Verdict::TakesBack(&fault),
            n => Verdict::Waits(&waits[n - 3]),
        };
        let before = it.clone();
        let facts = |instance, second| StatusInput {
            instance,
            verdict,
            domain: domain.as_ref(),
            hypervisor_ready,
            pause: pauses.get(pause),
            now: Timestamp::from_second(second).unwrap(),
        };
        let first = instance_status(&facts(&before, 1));

        // Every aspect is told, once, and of this generation.
        prop_assert_eq!(first.observed_generation, before.metadata.generation.unwrap());
        for type_ in [types::SCHEDULED, types::IMAGE_READY, types::NETWORK_READY, types::READY] {
            prop_assert_eq!(first.conditions.iter().filter(|c| c.type_ == type_).count(), 1, "{}", type_);
        }

        // The binding is copied: it changes by a verdict only.
        let mut old = before.status.as_ref().and_then(Binding::of);
        let mut new = Binding::of(&first);
        for either in [&mut old, &mut new].into_iter().flatten() {
            either.image.disk_created = None;
        }
        match verdict {
            Verdict::Keep | Verdict::Waits(_) => prop_assert_eq!(&new, &old),
            Verdict::Binds(_) => prop_assert_eq!(new, Some(binding.clone())),
            Verdict::TakesBack(_) => prop_assert_eq!(new, None),
        }

        // Ready=True is a proof.
        let ready = find(&first.conditions, types::READY).unwrap();
        if ready.status == ConditionStatus::True {
            let domain = domain.as_ref().unwrap();
            let report = domain.status.as_ref().unwrap();
            prop_assert!(hypervisor_ready && before.metadata.deletion_timestamp.is_none());
            prop_assert_eq!(report.observed_generation, domain.metadata.generation.unwrap());
            prop_assert_eq!(report.outcome, Some(Outcome::Running));
            prop_assert!(!needs_update(&domain.spec, &domain_spec(&before, "ns").unwrap()));
            prop_assert!(ready.message.is_empty());
            prop_assert!(find(&first.conditions, types::STALLED).is_none());
        }
        if !hypervisor_ready {
            prop_assert!(matches!(first.power_state, None | Some(PowerState::Unknown)));
        }

        // What was written is computed again, later, without a difference.
        it.status = Some(first.clone());
        let second = instance_status(&facts(&it, 2));
        prop_assert!(!differs(Some(&first), &second), "{:#?}\n{:#?}", first, second);
    }
}
