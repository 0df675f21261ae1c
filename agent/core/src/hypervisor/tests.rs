#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;
use crate::observed::{LibvirtState, StateReason};
use crate::plan::simulation::{UUID, desired, spec};
use kilonova_crds::ConditionStatus;
use kilonova_crds::condition::find;

fn domain(uuid: &str, metadata: Option<String>) -> LibvirtDomain {
    LibvirtDomain {
        uuid: uuid.to_owned(),
        name: "d".to_owned(),
        state: LibvirtState::Running,
        reason: StateReason::Other,
        persistent: true,
        managed_save: false,
        metadata,
        vcpus: 2,
        memory_bytes: 1 << 30,
    }
}

#[allow(clippy::unnecessary_wraps, reason = "as libvirt gives it")]
fn own(cluster: &str) -> Option<String> {
    let mut owner = desired(spec()).owner;
    owner.cluster_id = cluster.to_owned();
    let definition = String::new();
    Some(Metadata { owner, definition }.to_xml())
}

fn facts() -> NodeFacts {
    NodeFacts {
        vcpus: 8,
        memory_bytes: 16 << 30,
        cpu_model: "EPYC".to_owned(),
        cpu_vendor: None,
        architecture: "x86_64".to_owned(),
        machine_types: vec!["pc-q35-7.2".to_owned()],
        kvm_offered: false,
        libvirt_version: "9.0.0".to_owned(),
        qemu_version: "7.2.0".to_owned(),
        hostname: "n".to_owned(),
    }
}

fn report(domains: &[LibvirtDomain], declared: &[&str]) -> HypervisorStatus {
    report_with(domains, declared, &[])
}

fn report_with(
    domains: &[LibvirtDomain],
    declared: &[&str],
    nics: &[NicInNetwork],
) -> HypervisorStatus {
    let (facts, declared) = (facts(), declared.iter().map(|d| (*d).to_owned()).collect());
    let report = NodeReport {
        cluster_id: "c1",
        facts: Some(&facts),
        libvirt_trouble: None,
        lacks: &[],
        virtualization: Some(VirtualizationType::Qemu),
        domains,
        files: &[],
        declared: &declared,
        nics,
        disk_total: 100 << 30,
        disk_foreign: 1,
        share: None,
        kernel: "6.1",
        agent: "0.1.0",
        generation: Some(1),
    };
    report.status(None, &Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH))
}

#[test]
fn another_clusters_domains_are_foreign_and_ours_orphans_unless_declared() {
    let foreign = domain("11111111-9d1e-4b57-8a53-0d8e35bfb0c1", own("c2"));
    let stranger = domain("22222222-9d1e-4b57-8a53-0d8e35bfb0c1", None);
    let ours = domain(UUID, own("c1"));
    let all = [foreign, stranger, ours];
    let status = report(&all, &[]);
    let used = status.foreign.unwrap();
    assert_eq!((used.vcpus, used.memory), (4, Quantity::from("2Gi")));
    assert_eq!(used.disk, Quantity::from("2Gi"));
    assert_eq!(status.orphans.len(), 1);
    assert_eq!(
        (
            status.orphans[0].uuid.as_str(),
            status.orphans[0].claim.vcpus
        ),
        (UUID, 2)
    );
    assert!(report(&all, &[UUID]).orphans.is_empty());
}

#[test]
fn only_nics_that_can_be_used_are_offered_and_the_others_told_of() {
    let network = |name| PhysicalNetwork::new(name).unwrap();
    let good = NicObserved {
        name: "eth1".to_owned(),
        index: 3,
        mtu: 9000,
        up: false,
        is_ethernet: true,
        master: None,
        addresses: Vec::new(),
        routes: Vec::new(),
    };
    let mut own = good.clone();
    own.name = "eth0".to_owned();
    own.addresses = vec!["192.0.2.2/24".parse().unwrap()];
    let missing = NicFault::Missing("eth9".to_owned());
    let nics = [
        (network("a"), Ok(good)),
        (network("b"), Ok(own)),
        (network("c"), Err(missing)),
    ];
    let status = report_with(&[], &[], &nics);
    assert_eq!(status.physical_networks, ["a"]);
    assert_eq!((status.nics.len(), status.nics[0].mtu), (1, 9000));
    let condition = find(&status.conditions, PHYSICAL_NETWORKS_READY).unwrap();
    assert_eq!(condition.status, ConditionStatus::False);
    let says = &condition.message;
    assert!(says.starts_with("b: NIC eth0 carries the address 192.0.2.2/24"));
    assert!(says.ends_with("c: there is no NIC eth9"), "{says}");
    let unreadable = NicFault::Unreadable {
        nic: "eth1".to_owned(),
        why: "opening a netlink socket".to_owned(),
    };
    let blind = report_with(&[], &[], &[(network("a"), Err(unreadable))]);
    assert_eq!((blind.capacity, blind.nics.len()), (status.capacity, 0));
    let condition = find(&blind.conditions, PHYSICAL_NETWORKS_READY).unwrap();
    assert!(condition.message.starts_with("a: cannot look at NIC eth1"));
    let status = report_with(&[], &[], &nics[..1]);
    let condition = find(&status.conditions, PHYSICAL_NETWORKS_READY).unwrap();
    assert_eq!(condition.status, ConditionStatus::True);
    let none = report(&[], &[]).conditions;
    assert!(find(&none, PHYSICAL_NETWORKS_READY).is_none());
}

#[test]
fn the_controllers_conditions_are_no_difference() {
    let status = report(&[], &[]);
    let mut seen = status.clone();
    seen.conditions.push(Condition {
        type_: types::READY.to_owned(),
        status: ConditionStatus::True,
        ..status.conditions[0].clone()
    });
    assert!(!differs(Some(&seen), &status));
    seen.versions = None;
    assert!(differs(Some(&seen), &status) && differs(None, &status));
}

#[test]
fn a_node_that_waits_is_what_it_was_and_says_why() {
    let now = Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
    let waiting = |previous, trouble| waiting(previous, trouble, &[], false, &now);
    let previous = report(&[], &[]);
    let lame = waiting(Some(&previous), Some("no socket"));
    assert_eq!(lame.capacity, previous.capacity);
    assert_eq!(lame.conditions.len(), 3);
    assert_eq!(lame.conditions[0].status, ConditionStatus::False);
    assert_eq!(lame.conditions[0].message, "no socket");
    let new = waiting(None, Some("no socket"));
    assert_eq!((new.capacity, new.conditions.len()), (None, 3));
    // Told once, it is told.
    assert!(!differs(
        Some(&lame),
        &waiting(Some(&lame), Some("no socket"))
    ));
    // Of libvirt nothing is said before it was asked.
    let said = waiting(None, None).conditions;
    assert!(find(&said, types::LIBVIRT_READY).is_none() && said.len() == 2);
}

#[test]
fn the_newest_machine_type_is_by_number() {
    let types = [
        "pc-q35-7.2",
        "pc-q35-10.0",
        "pc-i440fx-9.2",
        "pc-q35-9.1",
        "q35",
    ];
    let types = types.map(str::to_owned);
    assert_eq!(newest_q35(&types).as_deref(), Some("pc-q35-10.0"));
    assert_eq!(newest_q35(&[]), None);
}
