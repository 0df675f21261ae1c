//! The laws of planning, over every node that can be thought of.

use super::*;
use proptest::prelude::*;
use proptest::sample::select;

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
                    let ports = crate::desired::attachments(&spec, &desired.segments).unwrap();
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
