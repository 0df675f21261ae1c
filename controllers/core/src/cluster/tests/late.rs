//! What is seen late, is gone by force, or comes back: who holds what then.

use super::*;

#[test]
fn an_assumed_binding_outlives_what_watches_deliver_late() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let web = with_interface("web", json!({}));
    let binding = cluster.bind(&objects.inputs(&web)).unwrap();
    cluster.observe_instance(&web);
    assert_eq!(cluster.instances_on("n1"), 1);
    cluster.observe_instance(&bound(&web, &binding));
    // Confirmed: what is seen from now on is what counts.
    cluster.undo("uid-web");
    assert_eq!(cluster.instances_on("n1"), 1);
    let freed = cluster.observe_instance(&web);
    assert_eq!(cluster.used("n1"), Resources::ZERO);
    assert!(freed.contains(&WaitKey::Capacity));
    assert!(freed.contains(&WaitKey::Addresses("net-blue".into())));
    assert!(!cluster.network_in_use("net-blue"));
}

#[test]
fn an_assumed_binding_outlives_an_older_one_that_is_seen_late() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let web = with_interface("web", json!({}));
    let mut older = cluster.bind(&objects.inputs(&web)).unwrap();
    older.node = "n0".into();
    cluster.observe_instance(&bound(&web, &older));
    assert_eq!(cluster.instances_on("n0"), 1);
    cluster.observe_instance(&web);
    assert_eq!(
        (cluster.instances_on("n0"), cluster.instances_on("n1")),
        (0, 1)
    );
    assert!(cluster.network_in_use("net-blue"));
}

#[test]
fn a_failed_binding_wakes_nobody() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let outside = with_interface("web", json!({"ips": ["10.9.0.1"]}));
    cluster.observe_instance(&outside);
    cluster.bind(&objects.inputs(&outside)).unwrap_err();
    assert_eq!(cluster.observe_instance(&outside), []);
}

#[test]
fn a_domain_claims_though_its_instance_is_gone() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let web = with_interface("web", json!({}));
    let binding = cluster.bind(&objects.inputs(&web)).unwrap();
    let web = bound(&web, &binding);
    cluster.observe_instance(&web);
    cluster.observe_domain(
        "n1",
        &domain(&web, Disposition::Run, Some(Outcome::Running)),
    );
    cluster.forget_instance("uid-web");
    assert_eq!(cluster.used("n1").memory, GIB);
    let released = domain(&web, Disposition::Release, Some(Outcome::Released));
    cluster.observe_domain("n1", &released);
    let kept = Resources {
        disk: 10 * GIB,
        ..Resources::ZERO
    };
    assert_eq!(cluster.used("n1"), kept);
    assert!(cluster.network_in_use("net-blue"));
    let releasing = domain(&web, Disposition::Release, None);
    cluster.observe_domain("n1", &releasing);
    assert_eq!(cluster.used("n1").memory, GIB);
    let mut forfeited = domain(&web, Disposition::Purge, None);
    cluster.observe_domain("n1", &forfeited);
    assert_eq!(cluster.used("n1").memory, GIB);
    forfeited.spec.forfeited = true;
    cluster.observe_domain("n1", &forfeited);
    assert_eq!(cluster.used("n1"), Resources::ZERO);
    assert!(!cluster.network_in_use("net-blue"));
}

#[test]
fn a_deleted_instance_holds_until_our_finalizer_is_off() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let web = with_interface("web", json!({}));
    let binding = cluster.bind(&objects.inputs(&web)).unwrap();
    let mut web = bound(&web, &binding);
    web.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    cluster.observe_instance(&web);
    cluster.undo("uid-web");
    assert_eq!(cluster.instances_on("n1"), 1);
    web.metadata.finalizers = Some(vec!["somebody.else/s".into()]);
    cluster.observe_instance(&web);
    assert_eq!(cluster.used("n1"), Resources::ZERO);
}

fn orphan(uid: &str, namespace_uid: &str) -> Value {
    json!({
        "uuid": "uuid-1", "namespace": "shop", "namespaceUid": namespace_uid, "name": "web", "uid": uid,
        "claim": {"vcpus": 2, "memory": "2Gi", "disk": "20Gi"},
        "ports": [{"networkUid": "net-blue", "mac": "fa:16:3e:00:00:01", "ips": ["10.0.0.2"]}],
    })
}

#[test]
fn an_orphan_holds_and_can_be_taken_over() {
    let objects = Objects::new();
    let mut cluster = cluster(&[], &objects);
    let mut holder = hypervisor("n1", 4, 4, 100);
    holder.status.as_mut().unwrap().orphans = vec![parse(orphan("uid-old", "ns"))];
    let touched = cluster.observe_hypervisor(&holder, None, true);
    assert!(touched.contains(&WaitKey::Orphans));
    assert_eq!(cluster.used("n1").memory, 2 * GIB);
    let other = cluster
        .bind(&objects.inputs(&with_interface("db", json!({}))))
        .unwrap();
    assert_eq!(other.interfaces[0].ips[0].ip, "10.0.0.3");

    let web = with_interface("web", json!({}));
    let [(node, found)] = cluster.orphans_for(&web)[..] else {
        panic!("it is not found");
    };
    let (node, found) = (node.to_owned(), found.clone());
    let inputs = objects.inputs(&web);
    let binding = Binding::from_orphan(&inputs, &node, &found).unwrap();
    assert_eq!(binding.uuid, "uuid-1");
    assert_eq!(binding.interfaces[0].ips[0].prefix_length, 24);
    assert_eq!(binding.image.disk_created, Some(true));
    cluster.assume(&web, &binding);
    cluster.observe_instance(&bound(&web, &binding));
    assert!(!binding.interfaces.is_empty());

    let portless = instance("web", json!({}));
    let refused = Binding::from_orphan(&objects.inputs(&portless), &node, &found);
    assert!(matches!(
        refused,
        Err(Wait::OrphanExists { why: Some(_), .. })
    ));

    holder.status.as_mut().unwrap().orphans = vec![];
    cluster.observe_hypervisor(&holder, None, true);
    // The one that took over, and the other.
    assert_eq!(cluster.used("n1").memory, 3 * GIB);
}

#[test]
fn an_orphan_that_was_purged_is_nobodys_though_a_late_list_has_it() {
    let objects = Objects::new();
    let mut cluster = cluster(&[], &objects);
    let mut holder = hypervisor("n1", 4, 4, 100);
    holder.status.as_mut().unwrap().orphans = vec![parse(orphan("uid-old", "ns"))];
    cluster.observe_hypervisor(&holder, None, true);
    let web = with_interface("web", json!({}));
    assert_eq!(cluster.orphans_for(&web).len(), 1);
    let mut purge = crate::compile::orphan_spec(&parse(orphan("uid-old", "ns")));
    purge.disposition = Disposition::Purge;
    let mut made = Domain::new("uid-old", purge);
    made.metadata.generation = Some(1);
    cluster.observe_domain("n1", &made);
    assert_eq!(cluster.orphans_for(&web), []);
    made.status = Some(DomainStatus {
        observed_generation: 1,
        outcome: Some(Outcome::Purged),
        ..DomainStatus::default()
    });
    let touched = cluster.observe_domain("n1", &made);
    assert!(touched.contains(&WaitKey::Orphans));
    cluster.forget_domain("n1", "uid-old");
    cluster.observe_hypervisor(&holder, None, true);
    assert_eq!(cluster.orphans_for(&web), []);
    assert_eq!(cluster.used("n1"), Resources::ZERO);
    // Listed anew after it was gone from the list, it is held again.
    let listed = std::mem::take(&mut holder.status.as_mut().unwrap().orphans);
    cluster.observe_hypervisor(&holder, None, true);
    holder.status.as_mut().unwrap().orphans = listed;
    cluster.observe_hypervisor(&holder, None, true);
    assert_eq!(cluster.orphans_for(&web).len(), 1);
}

#[test]
fn a_domain_gives_a_lost_binding_back() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let web = with_interface("web", json!({}));
    let binding = cluster.bind(&objects.inputs(&web)).unwrap();
    let mut made = domain(
        &bound(&web, &binding),
        Disposition::Run,
        Some(Outcome::Running),
    );
    made.status.as_mut().unwrap().disk_created = true;
    let mut found = Binding::from_domain(&objects.inputs(&web), "n1", &made).unwrap();
    assert_eq!(found.image.disk_created, Some(true));
    found.image.disk_created = None;
    assert_eq!(found, binding);
}

#[test]
fn a_binding_that_a_late_leader_wrote_is_found_out() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let (a, b) = (
        with_interface("a", json!({})),
        with_interface("b", json!({})),
    );
    let binding = cluster.bind(&objects.inputs(&a)).unwrap();
    let (a, b) = (bound(&a, &binding), bound(&b, &binding));
    cluster.observe_instance(&a);
    assert_eq!(cluster.examine(&a), None);
    cluster.observe_instance(&b);
    assert_eq!(cluster.examine(&a), None);
    let ip = IpAddr::from([10, 0, 0, 2]);
    assert_eq!(cluster.examine(&b), Some(BindingFault::Address(ip)));
    // A domain that is there weighs more than an earlier uid.
    cluster.observe_domain("n1", &domain(&b, Disposition::Run, None));
    assert_eq!(cluster.examine(&a), Some(BindingFault::Address(ip)));
}

#[test]
fn a_binding_that_a_late_leader_wrote_does_not_come_before_a_domain_that_is_being_made() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let (a, b) = (
        with_interface("a", json!({})),
        with_interface("b", json!({})),
    );
    let binding = cluster.bind(&objects.inputs(&b)).unwrap();
    let (late, dispatched) = (bound(&a, &binding), bound(&b, &binding));
    cluster.observe_instance(&dispatched);
    assert_eq!(cluster.examine(&dispatched), None);
    let made = domain(&dispatched, Disposition::Run, None);
    cluster.dispatch("n1", &made.spec);
    cluster.observe_instance(&late);
    let ip = IpAddr::from([10, 0, 0, 2]);
    assert_eq!(cluster.examine(&late), Some(BindingFault::Address(ip)));
    // It was not made: the one whose uid sorts first has the address.
    cluster.end_dispatch("uid-b");
    assert_eq!(cluster.examine(&late), None);
    cluster.dispatch("n1", &made.spec);
    cluster.observe_domain("n1", &made);
    assert_eq!(cluster.end_dispatch("uid-b"), [], "the Domain holds it");
    assert_eq!(cluster.examine(&late), Some(BindingFault::Address(ip)));
}

#[test]
fn a_domain_that_is_being_made_holds_though_a_late_leader_takes_its_binding_back() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let term = json!([{"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}]);
    let spec = json!({"affinity": {"instanceAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
    let web = labelled(instance("web", spec.clone()), json!({"app": "web"}));
    cluster.observe_instance(&web);
    let binding = cluster.bind(&objects.inputs(&web)).unwrap();
    cluster.observe_instance(&bound(&web, &binding));
    let made = domain(&bound(&web, &binding), Disposition::Run, None);
    cluster.dispatch("n1", &made.spec);
    cluster.observe_instance(&web);
    assert_eq!(cluster.dispatched_to("uid-web"), Some("n1"));
    assert_eq!(cluster.used("n1").memory, GIB);
    let other = labelled(instance("other", spec), json!({"app": "web"}));
    cluster.observe_instance(&other);
    let wait = cluster.bind(&objects.inputs(&other)).unwrap_err();
    assert!(wait.to_string().contains("anti-affinity"), "{wait}");
    let freed = cluster.end_dispatch("uid-web");
    assert!(freed.contains(&WaitKey::Capacity));
    assert_eq!(cluster.used("n1"), Resources::ZERO);
    assert_eq!(cluster.dispatched_to("uid-web"), None);
    assert_eq!(cluster.end_dispatch("uid-web"), []);
}

#[test]
fn a_binding_to_a_node_that_cannot_take_it_any_more_is_found_out() {
    let objects = Objects::new();
    let mut cluster = cluster(&["n1"], &objects);
    let web = instance("web", json!({}));
    let binding = cluster.bind(&objects.inputs(&web)).unwrap();
    let web = bound(&web, &binding);
    cluster.observe_instance(&web);
    cluster.observe_hypervisor(&hypervisor("n1", 4, 0, 100), None, true);
    let fault = cluster.examine(&web).unwrap();
    assert_eq!(
        fault.to_string(),
        "node \"n1\" cannot take it any more: too little memory"
    );
    cluster.observe_hypervisor(&hypervisor("n1", 4, 1, 100), None, false);
    let fault = cluster.examine(&web).unwrap();
    assert!(fault.to_string().contains("not ready"), "{fault}");
    // Exactly its own room is room enough.
    cluster.observe_hypervisor(&hypervisor("n1", 4, 1, 100), None, true);
    assert_eq!(cluster.examine(&web), None);
}
