//! The ways that people take; [`laws`] are over every node that can be thought of.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test fails by panicking; a table of nodes"
)]

mod laws;

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
