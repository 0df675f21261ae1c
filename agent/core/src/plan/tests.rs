//! The laws of planning, over every node that can be thought of, and the ways that people take.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test fails by panicking; a table of nodes"
)]

use super::simulation::{self as sim, Node, UUID};
use super::{held, plan};
use crate::desired::{Observed, PortPlace};
use crate::network::Netns;
use crate::observed::{LibvirtDomain, LibvirtState, StateReason};
use crate::owner::Metadata;
use crate::power::active;
use crate::reason;
use crate::record::{DiskFile, InstanceFiles, LastStop, Owner, Record};
use crate::steps::Step;
use kilonova_crds::node::{Disposition, DomainSpec, RootDisk};
use kilonova_crds::v1alpha1::{Power, RestartPolicy};
use proptest::prelude::*;
use proptest::sample::select;
use std::time::Duration;

fn names(steps: &[Step]) -> Vec<&'static str> {
    steps.iter().map(Step::name).collect()
}

/// A node on which a Domain like this runs.
fn running(spec: &DomainSpec) -> Node {
    let mut node = Node::new(sim::nothing(), false, spec.ports.len());
    let desired = sim::desired(DomainSpec {
        power: Power::On,
        disposition: Disposition::Run,
        ..spec.clone()
    });
    let plan = plan(&sim::node(), &desired, &node.observed);
    node.run(&plan.steps);
    node
}

fn step(node: &mut Node, spec: &DomainSpec) -> super::Plan {
    let plan = plan(&sim::node(), &sim::desired(spec.clone()), &node.observed);
    node.run(&plan.steps);
    plan
}

fn set(node: &mut Node, state: LibvirtState, reason: StateReason) {
    let domain = node.observed.libvirt.as_mut().unwrap();
    domain.state = state;
    domain.reason = reason;
}

#[test]
fn a_start_goes_from_the_image_to_the_guest() {
    let plan = plan(&sim::node(), &sim::desired(sim::spec()), &sim::nothing());
    assert_eq!(
        names(&plan.steps),
        [
            "fetch_image",
            "confirm",
            "write_record",
            "create_disk",
            "write_record",
            "write_config_drive",
            "define",
            "ensure_segment",
            "ensure_segment",
            "make_tap",
            "make_tap",
            "start",
            "plug",
            "plug",
            "resume",
            "write_record"
        ]
    );
    assert_eq!(plan.hold, None);
}

#[test]
fn what_is_as_it_should_be_needs_nothing() {
    let mut node = running(&sim::spec());
    let plan = step(&mut node, &sim::spec());
    assert_eq!((plan.steps, plan.hold), (vec![], None));
}

#[test]
fn off_is_asked_for_before_it_is_forced_and_on_starts_again() {
    for policy in [RestartPolicy::Always, RestartPolicy::Never] {
        for deaf in [false, true] {
            let mut spec = sim::spec();
            spec.restart_policy = policy;
            let mut node = running(&spec);
            node.deaf = deaf;
            spec.power = Power::Off;
            let off = step(&mut node, &spec);
            let wanted = [
                "write_record",
                "shutdown",
                "destroy",
                "unplug",
                "unplug",
                "leave_segment",
                "leave_segment",
            ];
            assert_eq!(names(&off.steps), wanted);
            assert!(node.held.is_empty());
            spec.power = Power::On;
            node.deaf = false;
            let on = step(&mut node, &spec);
            assert_eq!(on.hold, None);
            assert_eq!(node.observed.libvirt.unwrap().state, LibvirtState::Running);
        }
    }
}

#[test]
fn a_guest_that_may_not_be_started_stays_down_until_off_and_on() {
    let mut spec = sim::spec();
    spec.restart_policy = RestartPolicy::Never;
    let mut node = running(&spec);
    set(&mut node, LibvirtState::Shutoff, StateReason::GuestShutdown);
    let stopped = step(&mut node, &spec);
    assert_eq!(stopped.hold.unwrap().reason, reason::GUEST_STOPPED);
    // The node is rebooted: libvirt has forgotten why, the record has not.
    set(&mut node, LibvirtState::Shutoff, StateReason::Other);
    assert_eq!(
        step(&mut node, &spec).hold.unwrap().reason,
        reason::GUEST_STOPPED
    );
    spec.power = Power::Off;
    assert_eq!(step(&mut node, &spec).hold, None);
    spec.power = Power::On;
    step(&mut node, &spec);
    assert_eq!(node.observed.libvirt.unwrap().state, LibvirtState::Running);
}

#[test]
fn a_rebooted_node_starts_what_ran() {
    let mut spec = sim::spec();
    spec.restart_policy = RestartPolicy::Never;
    let mut node = running(&spec);
    set(&mut node, LibvirtState::Shutoff, StateReason::Other);
    node.observed.ports.clear();
    step(&mut node, &spec);
    assert_eq!(node.observed.libvirt.unwrap().state, LibvirtState::Running);
}

#[test]
fn suspended_keeps_memory_and_its_definition() {
    let mut spec = sim::spec();
    let mut node = running(&spec);
    spec.power = Power::Suspended;
    let saved = step(&mut node, &spec);
    let wanted = [
        "write_record",
        "save",
        "unplug",
        "unplug",
        "leave_segment",
        "leave_segment",
    ];
    assert_eq!(names(&saved.steps), wanted);
    // An upgraded agent would define it otherwise: not while it is suspended.
    node.observed.metadata.as_mut().unwrap().definition = "old".into();
    assert_eq!(step(&mut node, &spec).steps, vec![]);
    spec.power = Power::On;
    let back = step(&mut node, &spec);
    assert!(back.steps.contains(&Step::Start { restore: true }));
    assert!(!names(&back.steps).contains(&"define"));
}

#[test]
fn what_someone_undefined_is_defined_before_it_is_saved() {
    let mut spec = sim::spec();
    let mut node = running(&spec);
    node.observed.libvirt.as_mut().unwrap().persistent = false;
    spec.power = Power::Suspended;
    assert_eq!(
        names(&step(&mut node, &spec).steps),
        ["write_record", "define"]
    );
    assert!(names(&step(&mut node, &spec).steps).contains(&"save"));
}

#[test]
fn memory_is_saved_only_where_there_is_room() {
    let mut spec = sim::spec();
    let mut node = running(&spec);
    node.observed.room.save_bytes = 1 << 20;
    spec.power = Power::Suspended;
    let plan = step(&mut node, &spec);
    assert_eq!(plan.hold.unwrap().reason, reason::INSUFFICIENT_DISK);
    assert_eq!(node.observed.libvirt.unwrap().state, LibvirtState::Running);
}

#[test]
fn an_io_error_waits_for_room_and_then_for_its_turn() {
    let mut node = running(&sim::spec());
    set(&mut node, LibvirtState::Paused, StateReason::IoError);
    node.observed.room.disk_bytes = 1 << 20;
    assert_eq!(
        step(&mut node, &sim::spec()).hold.unwrap().reason,
        reason::IO_ERROR
    );
    node.observed.room.disk_bytes = 1 << 30;
    node.observed.restart_wait = Some(Duration::from_secs(10));
    assert_eq!(step(&mut node, &sim::spec()).steps, vec![]);
    node.observed.restart_wait = None;
    let resumed = step(&mut node, &sim::spec());
    assert_eq!(names(&resumed.steps), ["resume"]);
    assert!(resumed.again, "the next time it waits longer");
}

#[test]
fn a_crash_loop_backs_off() {
    let mut node = running(&sim::spec());
    set(&mut node, LibvirtState::Shutoff, StateReason::Failed);
    node.observed.restart_wait = Some(Duration::from_secs(10));
    let waiting = step(&mut node, &sim::spec());
    let hold = waiting.hold.unwrap();
    assert_eq!(hold.reason, reason::CRASH_LOOP_BACK_OFF);
    assert_eq!(hold.wake, Some(Duration::from_secs(10)));
    assert_eq!(
        node.observed.record().unwrap().last_stop,
        Some(LastStop::Crashed)
    );
    node.observed.restart_wait = None;
    let again = step(&mut node, &sim::spec());
    assert!(again.again);
    assert_eq!(node.observed.libvirt.unwrap().state, LibvirtState::Running);
}

#[test]
fn a_disk_that_was_made_is_never_made_anew() {
    let mut existing = sim::spec();
    existing.root_disk = RootDisk::Existing;
    let fresh = plan(&sim::node(), &sim::desired(existing), &sim::nothing());
    assert_eq!(fresh.hold.unwrap().reason, reason::DISK_MISSING);
    assert_eq!(fresh.steps, vec![]);

    let mut node = running(&sim::spec());
    node.observed.files.as_mut().unwrap().disk = None;
    set(&mut node, LibvirtState::Shutoff, StateReason::Other);
    let plan = step(&mut node, &sim::spec());
    assert_eq!(plan.hold.unwrap().reason, reason::DISK_MISSING);
}

#[test]
fn a_node_refuses_only_what_has_no_disk_here() {
    let mut observed = sim::nothing();
    observed.room.memory_bytes = 1;
    let refused = plan(&sim::node(), &sim::desired(sim::spec()), &observed);
    let hold = refused.hold.unwrap();
    assert!(hold.refused && hold.reason == reason::INSUFFICIENT_MEMORY);
    assert_eq!(refused.steps, vec![]);

    let mut node = running(&sim::spec());
    set(&mut node, LibvirtState::Shutoff, StateReason::Other);
    node.observed.room.memory_bytes = 1;
    let hold = step(&mut node, &sim::spec()).hold.unwrap();
    assert!(!hold.refused && hold.reason == reason::INSUFFICIENT_MEMORY);
}

#[test]
fn without_its_segment_it_waits_and_what_runs_runs_on() {
    let mut desired = sim::desired(sim::spec());
    desired.segments.pop();
    let waiting = plan(&sim::node(), &desired, &sim::nothing());
    assert_eq!(waiting.hold.unwrap().reason, reason::WAITING_FOR_SEGMENT);
    assert_eq!(names(&waiting.steps), ["fetch_image"]);

    let node = running(&sim::spec());
    let kept = plan(&sim::node(), &desired, &node.observed);
    assert_eq!((kept.steps, kept.hold), (vec![], None));
}

#[test]
fn what_is_forfeited_is_unplugged_first() {
    let mut spec = sim::spec();
    let node = running(&spec);
    spec.forfeited = true;
    for disposition in [Disposition::Run, Disposition::Purge] {
        spec.disposition = disposition;
        let plan = plan(&sim::node(), &sim::desired(spec.clone()), &node.observed);
        let names = names(&plan.steps);
        let at = |name| names.iter().position(|n| *n == name).unwrap();
        assert!(at("unplug") < at("shutdown"), "{names:?}");
    }
}

#[test]
fn a_released_domain_keeps_its_disk_and_runs_again() {
    let mut spec = sim::spec();
    let mut node = running(&spec);
    spec.disposition = Disposition::Release;
    step(&mut node, &spec);
    assert!(node.observed.libvirt.is_none() && node.observed.ports.is_empty());
    assert!(node.observed.files.as_ref().unwrap().disk.is_some());
    spec.disposition = Disposition::Run;
    spec.root_disk = RootDisk::Existing;
    step(&mut node, &spec);
    assert_eq!(node.observed.libvirt.unwrap().state, LibvirtState::Running);
}

#[test]
fn a_new_owner_is_written_without_a_new_start() {
    let mut spec = sim::spec();
    let mut node = running(&spec);
    spec.instance.uid = "another".into();
    spec.instance.name = "web-2".into();
    let taken = step(&mut node, &spec);
    assert!(names(&taken.steps).contains(&"set_metadata"), "{taken:?}");
    assert_eq!(node.observed.metadata.unwrap().owner.uid, "another");
    assert_eq!(node.observed.libvirt.unwrap().state, LibvirtState::Running);
}

#[test]
fn what_is_foreign_is_not_touched() {
    for disposition in [Disposition::Run, Disposition::Release, Disposition::Purge] {
        let mut spec = sim::spec();
        let mut node = running(&spec);
        spec.disposition = disposition;
        node.observed.metadata = None;
        let plan = plan(&sim::node(), &sim::desired(spec.clone()), &node.observed);
        assert_eq!(plan.steps, vec![]);
        assert_eq!(plan.hold.unwrap().reason, reason::LIBVIRT_ERROR);
    }
}

#[test]
fn what_is_held_is_served_and_nothing_else() {
    let mut node = running(&sim::spec());
    let record = node.observed.record().unwrap().clone();
    assert_eq!(held(&record, &node.observed).steps, vec![]);
    for place in node.observed.ports.values_mut() {
        if let PortPlace::Plugged { current, .. } = place {
            *current = false;
        }
    }
    let names = names(&held(&record, &node.observed).steps);
    assert_eq!(names, ["ensure_segment", "ensure_segment", "plug", "plug"]);
    set(&mut node, LibvirtState::Shutoff, StateReason::GuestShutdown);
    assert_eq!(held(&record, &node.observed).steps, vec![]);
}

fn any_spec() -> impl Strategy<Value = DomainSpec> {
    (
        select(vec![Power::On, Power::Off, Power::Paused, Power::Suspended]),
        select(vec![
            RestartPolicy::Always,
            RestartPolicy::OnFailure,
            RestartPolicy::Never,
        ]),
        select(vec![
            Disposition::Run,
            Disposition::Run,
            Disposition::Release,
            Disposition::Purge,
        ]),
        any::<bool>(),
        select(vec![0, 30]),
        select(vec![RootDisk::Create, RootDisk::Existing]),
        0..=2usize,
    )
        .prop_map(
            |(power, policy, disposition, forfeited, grace, disk, ports)| {
                let mut spec = sim::spec();
                spec.power = power;
                spec.restart_policy = policy;
                spec.disposition = disposition;
                spec.forfeited = forfeited;
                spec.termination_grace_period_seconds = grace;
                spec.root_disk = disk;
                spec.ports.truncate(ports);
                spec
            },
        )
}

/// A Segment that is none.
fn nowhere() -> Netns {
    Netns::of_network("")
}

/// Any node: what an agent, killed at any step, can find, and what others can have done to it.
fn any_observed(spec: DomainSpec) -> impl Strategy<Value = Observed> {
    let libvirt = prop::option::weighted(
        0.8,
        (
            select(vec![
                LibvirtState::Running,
                LibvirtState::Paused,
                LibvirtState::ShuttingDown,
                LibvirtState::Shutoff,
                LibvirtState::Crashed,
                LibvirtState::PmSuspended,
            ]),
            select(vec![
                StateReason::IoError,
                StateReason::User,
                StateReason::GuestShutdown,
                StateReason::Destroyed,
                StateReason::Failed,
                StateReason::Saved,
                StateReason::Other,
            ]),
            any::<(bool, bool, bool, bool)>(),
        ),
    );
    let stop = prop::option::of(select(vec![
        LastStop::Asked,
        LastStop::Guest,
        LastStop::Crashed,
        LastStop::Outside,
    ]));
    let place = || {
        prop::option::of(select(vec![
            PortPlace::Beside,
            PortPlace::Plugged {
                segment: nowhere(),
                current: false,
            },
            PortPlace::Plugged {
                segment: nowhere(),
                current: true,
            },
            PortPlace::Remains { segment: nowhere() },
        ]))
    };
    (
        libvirt,
        prop::option::weighted(0.8, (any::<(bool, bool, bool, bool)>(), stop)),
        [place(), place()],
        any::<(bool, bool, bool)>(),
    )
        .prop_map(move |(libvirt, files, places, (cached, room, waits))| {
            let mut observed = sim::nothing();
            observed.image_cached = cached;
            if !room {
                observed.room = crate::desired::Room::default();
            }
            observed.restart_wait = waits.then_some(Duration::from_secs(10));
            let desired = sim::desired(spec.clone());
            if let Some((state, reason, (saved, persistent, same_owner, same_definition))) = libvirt
            {
                let mut metadata = Metadata {
                    owner: desired.owner.clone(),
                    definition: "old".into(),
                };
                if same_definition {
                    let ports = super::attachments(&spec, &desired.segments).unwrap();
                    let definition = crate::definition::definition(
                        &sim::node(),
                        &desired,
                        &ports,
                        "pc-q35-7.2",
                        Some("d"),
                    );
                    metadata.definition = definition.unwrap().digest;
                }
                if !same_owner {
                    metadata.owner.uid = "another".into();
                }
                observed.libvirt = Some(LibvirtDomain {
                    uuid: UUID.into(),
                    name: "d".into(),
                    state,
                    reason,
                    // One that must be defined before it is saved takes two plans.
                    persistent: persistent || !active(state) || spec.power == Power::Suspended,
                    managed_save: saved && !active(state),
                    metadata: None,
                    vcpus: 1,
                    memory_bytes: 1 << 30,
                });
                observed.metadata = Some(metadata);
            }
            if let Some(((recorded, disk, drive, created), last_stop)) = files {
                observed.files = Some(InstanceFiles {
                    uuid: UUID.into(),
                    record: recorded.then(|| Record {
                        owner: Owner {
                            ..desired.owner.clone()
                        },
                        spec: sim::spec(),
                        segments: vec![],
                        machine: Some("pc-q35-7.1".into()),
                        disk_created: created,
                        last_stop,
                    }),
                    disk: disk.then_some(DiskFile {
                        virtual_size_bytes: 2 << 30,
                        allocated_bytes: 0,
                        backing: None,
                    }),
                    config_drive: drive.then(|| "old".into()),
                });
            }
            for (index, place) in places.into_iter().enumerate() {
                let segment = Netns::of_network(sim::SEGMENT_UIDS[index]);
                let place = match place {
                    None => continue,
                    Some(PortPlace::Beside) => PortPlace::Beside,
                    Some(PortPlace::Plugged { current, .. }) => {
                        PortPlace::Plugged { segment, current }
                    }
                    Some(PortPlace::Remains { .. }) => PortPlace::Remains { segment },
                };
                observed.ports.insert(sim::taps()[index].clone(), place);
            }
            observed
        })
}

fn any_case() -> impl Strategy<Value = (DomainSpec, Observed, bool)> {
    any_spec().prop_flat_map(|spec| (Just(spec.clone()), any_observed(spec), any::<bool>()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_plan_carried_out_leaves_nothing_to_do((spec, observed, deaf) in any_case()) {
        let desired = sim::desired(spec);
        let first = plan(&sim::node(), &desired, &observed);
        let mut node = Node::new(observed, deaf, desired.spec.ports.len());
        node.run(&first.steps);
        let second = plan(&sim::node(), &desired, &node.observed);
        prop_assert_eq!(names(&second.steps), Vec::<&str>::new(), "after {:?}", names(&first.steps));
        prop_assert_eq!(second.hold.map(|h| h.reason), first.hold.map(|h| h.reason));
    }

    #[test]
    fn an_agent_killed_at_any_step_ends_the_same((spec, observed, deaf) in any_case(), kill in 0..20usize) {
        let desired = sim::desired(spec);
        let mut whole = Node::new(observed.clone(), deaf, desired.spec.ports.len());
        whole.run(&plan(&sim::node(), &desired, &observed).steps);
        let mut node = Node::new(observed, deaf, desired.spec.ports.len());
        let first = plan(&sim::node(), &desired, &node.observed);
        node.run_some(&first.steps, kill);
        node.observed.restart_wait = whole.observed.restart_wait;
        let rest = plan(&sim::node(), &desired, &node.observed);
        node.run(&rest.steps);
        let left = plan(&sim::node(), &desired, &node.observed);
        prop_assert_eq!(names(&left.steps), Vec::<&str>::new());
        prop_assert_eq!(&node.observed.ports, &whole.observed.ports);
        let state = |n: &Node| n.observed.libvirt.as_ref().map(|d| (d.state, d.managed_save));
        prop_assert_eq!(state(&node), state(&whole));
    }

    #[test]
    fn teardown_comes_first((spec, observed, _) in any_case()) {
        let plan = plan(&sim::node(), &sim::desired(spec), &observed);
        let first_build = plan.steps.iter().position(Step::builds_up).unwrap_or(usize::MAX);
        let last_teardown = plan.steps.iter().rposition(Step::tears_down).unwrap_or(0);
        prop_assert!(last_teardown <= first_build, "{:?}", names(&plan.steps));
    }

    #[test]
    fn a_purge_leaves_nothing((spec, observed, deaf) in any_case()) {
        let spec = DomainSpec { disposition: Disposition::Purge, ..spec };
        let mut node = Node::new(observed, deaf, spec.ports.len());
        let plan = step(&mut node, &spec);
        prop_assert!(plan.steps.is_empty() || plan.steps[0] == Step::Confirm);
        let left = &node.observed;
        prop_assert!(left.libvirt.is_none() && left.files.is_none() && left.ports.is_empty());
        prop_assert!(node.held.is_empty());
    }

    #[test]
    fn nothing_is_removed_unless_purged((spec, observed, _) in any_case()) {
        let mut spec = spec;
        if spec.disposition == Disposition::Purge {
            spec.disposition = Disposition::Run;
        }
        let plan = plan(&sim::node(), &sim::desired(spec.clone()), &observed);
        prop_assert!(!plan.steps.contains(&Step::RemoveFiles));
        if spec.disposition == Disposition::Run && !spec.forfeited {
            prop_assert!(!plan.steps.contains(&Step::Undefine));
        }
    }
}
