use super::*;
use crate::testing::{bound, domain_of, instance, network, parse};
use kilonova_crds::v1alpha1::SegmentType;
use serde_json::json;

#[test]
fn an_unbound_instance_compiles_to_nothing() {
    assert_eq!(domain_spec(&instance("web", json!({})), "ns"), None);
    let mut half = bound("web", "n1", json!({}));
    half.status.as_mut().unwrap().claim = None;
    assert_eq!(domain_spec(&half, "ns"), None);
}

#[test]
fn a_domain_has_everything_resolved() {
    let spec = json!({"power": "Off", "restartPolicy": "Never", "userData": "#!/bin/sh"});
    let compiled = domain_spec(&bound("web", "n1", spec), "ns").unwrap();
    let want: DomainSpec = parse(json!({
        "instance": {"namespace": "shop", "namespaceUid": "ns", "name": "web", "uid": "uid-web"},
        "uuid": "uid-web", "vcpus": 1, "memory": "1Gi", "disk": "10Gi",
        "image": {"url": "http://x/d", "checksum": "sha256:00", "format": "raw", "virtualSize": "1Gi"},
        "rootDisk": "Create",
        "ports": [{
            "name": "eth0", "mac": "fa:16:3e:00:00:01", "segment": "net-blue",
            "ips": [{"ip": "10.0.0.2", "prefixLength": 24, "gateway": "10.0.0.1"}],
        }],
        "guest": {"hostname": "web", "publicKeys": ["ssh-ed25519 AAAA ops"], "userData": "#!/bin/sh"},
        "power": "Off", "restartPolicy": "Never", "terminationGracePeriodSeconds": 30,
        "disposition": "Run",
    }));
    assert_eq!(compiled, want);
    let named = bound("web", "n1", json!({"hostname": "front"}));
    assert_eq!(domain_spec(&named, "ns").unwrap().guest.hostname, "front");
}

#[test]
fn a_disk_that_was_made_is_no_reason_to_rewrite_and_never_made_again() {
    let mut web = bound("web", "n1", json!({}));
    let existing = domain_of(&web).spec;
    web.status
        .as_mut()
        .unwrap()
        .image
        .as_mut()
        .unwrap()
        .disk_created = Some(true);
    let wanted = domain_spec(&web, "other").unwrap();
    assert_eq!(wanted.root_disk, RootDisk::Existing);
    assert!(!needs_update(&existing, &wanted));

    web.spec.power = Some(Power::Off);
    let wanted = domain_spec(&web, "other").unwrap();
    assert!(needs_update(&existing, &wanted));
    let written = over_existing(&existing, wanted);
    assert_eq!(written.root_disk, RootDisk::Existing);
    assert_eq!(written.instance.namespace_uid, "ns");

    // A status that lost the fact does not take it from the Domain.
    web.status
        .as_mut()
        .unwrap()
        .image
        .as_mut()
        .unwrap()
        .disk_created = None;
    let again = domain_spec(&web, "ns").unwrap();
    assert_eq!(
        over_existing(&written, again.clone()).root_disk,
        RootDisk::Existing
    );
    assert!(!needs_update(&written, &again));
}

#[test]
fn a_segment_has_its_defaults_filled_in() {
    let mut blue = network("blue", "10.0.0.0/24");
    let segment = segment_spec(&blue).unwrap();
    let want: SegmentSpec = parse(json!({
        "network": {"namespace": "shop", "name": "blue", "uid": "net-blue"},
        "type": "local", "mtu": 1500, "routed": true, "dhcp": true,
        "gatewayMac": gateway_mac("net-blue"),
        "subnets": [{"cidr": "10.0.0.0/24", "gateway": "10.0.0.1", "dns": ["10.0.0.1"]}],
    }));
    assert_eq!(segment, want);

    blue.spec.routed = Some(false);
    let subnet = segment_spec(&blue).unwrap().subnets.remove(0);
    assert!(subnet.dns.is_empty() && subnet.gateway.is_none());
    blue.spec.subnets[0].dns = Some(vec!["10.0.0.9".into()]);
    blue.spec.subnets[0].gateway = Some("10.0.0.254".into());
    let subnet = segment_spec(&blue).unwrap().subnets.remove(0);
    assert_eq!(
        (subnet.dns, subnet.gateway),
        (vec!["10.0.0.9".to_owned()], Some("10.0.0.254".to_owned()))
    );

    let status = blue.status.as_mut().unwrap();
    status.segment = Some(parse(json!({
        "type": "vlan", "id": 104, "physicalNetwork": "physnet1", "mtu": 9000,
    })));
    let SegmentSpec {
        type_,
        id,
        physical_network,
        mtu,
        ..
    } = segment_spec(&blue).unwrap();
    assert_eq!((type_, id, mtu), (SegmentType::Vlan, Some(104), 9000));
    assert_eq!(physical_network.as_deref(), Some("physnet1"));

    blue.spec.subnets[0].cidr = "nonsense".into();
    assert_eq!(segment_spec(&blue), None);
    let mut new = network("red", "10.0.0.0/24");
    new.status = None;
    assert_eq!(segment_spec(&new), None);
}

#[test]
fn an_orphans_domain_says_what_the_orphan_said() {
    let orphan: Orphan = parse(json!({
        "uuid": "u", "namespace": "shop", "namespaceUid": "ns", "name": "web", "uid": "uid-web",
        "claim": {"vcpus": 2, "memory": "2Gi", "disk": "20Gi"},
        "ports": [{"networkUid": "net", "mac": "02:00:00:00:00:01", "ips": ["10.0.0.2"]}],
    }));
    let spec = orphan_spec(&orphan);
    assert_eq!(
        (spec.uuid.as_str(), spec.instance.uid.as_str()),
        ("u", "uid-web")
    );
    assert_eq!(spec.root_disk, RootDisk::Existing);
    assert_eq!(spec.ports[0].ips[0].ip, "10.0.0.2");
}

#[test]
fn user_data_of_a_secret_is_named_by_the_uid_and_nothing_of_the_tenants() {
    let from = json!({"userDataFrom": {"secretKeyRef": {"name": "boot", "key": "script"}}});
    let guest = domain_spec(&bound("web", "n1", from), "ns").unwrap().guest;
    assert_eq!(guest.user_data, None);
    assert_eq!(guest.user_data_secret.as_deref(), Some("uid-web"));
}
