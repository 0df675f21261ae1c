//! What the tests of this module share, and the parsing of objects.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use kilonova_crds::Quantity;
use kilonova_crds::node::{
    Disposition, DomainGuest, DomainImage, DomainInstance, DomainPort, DomainSpec, RootDisk,
    SegmentNetwork, SegmentSpec, SegmentSubnet,
};
use kilonova_crds::v1alpha1::{
    BoundAddress, ImageFormat, ImageKind, Power, RestartPolicy, Route, SegmentType,
};

pub const NETWORK_UID: &str = "6f1c0a52-9d1e-4b57-8a53-0d8e35bfb0c1";
pub const INSTANCE_UID: &str = "0b7cf3de-1a7b-4a04-a5a9-6d83b4b1f2ce";

pub fn segment_spec() -> SegmentSpec {
    SegmentSpec {
        network: SegmentNetwork {
            namespace: "team-a".to_owned(),
            name: "blue".to_owned(),
            uid: NETWORK_UID.to_owned(),
        },
        type_: SegmentType::Local,
        id: None,
        physical_network: None,
        mtu: 1450,
        routed: true,
        dhcp: true,
        gateway_mac: "fa:16:3e:00:00:01".to_owned(),
        subnets: vec![SegmentSubnet {
            cidr: "10.0.0.0/24".to_owned(),
            gateway: Some("10.0.0.1".to_owned()),
            dns: vec!["192.0.2.53".to_owned()],
            routes: vec![Route {
                destination: "192.168.0.0/16".to_owned(),
                next_hop: "10.0.0.9".to_owned(),
            }],
        }],
    }
}

pub fn segment() -> SegmentDesired {
    SegmentDesired::from_spec(&segment_spec()).unwrap()
}

/// A VLAN of the physical network `physnet1`.
pub fn vlan(id: u16) -> Uplink {
    Uplink {
        physical_network: PhysicalNetwork::new("physnet1").unwrap(),
        vlan: Some(id),
    }
}

pub fn domain_spec() -> DomainSpec {
    let quantity: Quantity = serde_json::from_value("1Gi".into()).unwrap();
    DomainSpec {
        instance: DomainInstance {
            namespace: "team-a".to_owned(),
            namespace_uid: "1d2c3b4a-0000-4000-8000-000000000000".to_owned(),
            name: "web-1".to_owned(),
            uid: INSTANCE_UID.to_owned(),
        },
        uuid: INSTANCE_UID.to_owned(),
        vcpus: 1,
        memory: quantity.clone(),
        disk: quantity.clone(),
        image: DomainImage {
            kind: ImageKind::Image,
            url: "http://images.example/tiny.qcow2".to_owned(),
            checksum: "sha256:00".to_owned(),
            format: ImageFormat::Qcow2,
            virtual_size: quantity,
        },
        root_disk: RootDisk::Create,
        ports: vec![DomainPort {
            name: "eth0".to_owned(),
            mac: "fa:16:3e:00:03:01".to_owned(),
            ips: vec![BoundAddress {
                ip: "10.0.0.31".to_owned(),
                prefix_length: 24,
                gateway: Some("10.0.0.1".to_owned()),
            }],
            segment: NETWORK_UID.to_owned(),
        }],
        guest: DomainGuest {
            hostname: "web-1".to_owned(),
            public_keys: Vec::new(),
            user_data: None,
            user_data_secret: None,
        },
        power: Power::On,
        restart_policy: RestartPolicy::Always,
        termination_grace_period_seconds: 30,
        disposition: Disposition::Run,
        forfeited: false,
    }
}

pub fn port() -> PortDesired {
    PortDesired::from_domain(&domain_spec(), 0, &segment()).unwrap()
}

#[test]
fn a_port_is_what_the_domain_says_of_it() {
    let port = port();
    assert_eq!(port.tap, LinkName::tap(INSTANCE_UID, 0));
    assert_eq!(port.segment, Netns::of_network(NETWORK_UID));
    assert_eq!(port.mtu, 1450);
    assert_eq!(port.owner, format!("team-a/web-1 {INSTANCE_UID} eth0"));
}

#[test]
fn an_alias_reads_back() {
    let network = segment().network;
    assert_eq!(NetworkRef::from_alias(&network.alias()), Some(network));
    assert_eq!(NetworkRef::from_alias("somebody else's"), None);
}

#[test]
fn an_uplink_is_what_its_type_needs() {
    let of = |type_, id: Option<u32>, physical_network: Option<&str>| {
        let mut spec = segment_spec();
        (spec.type_, spec.id) = (type_, id);
        spec.physical_network = physical_network.map(str::to_owned);
        SegmentDesired::from_spec(&spec).map(|segment| segment.uplink)
    };
    let (flat, with_id) = (SegmentType::Flat, SegmentType::Vlan);
    assert_eq!(
        of(with_id, Some(104), Some("physnet1")),
        Ok(Some(vlan(104)))
    );
    let untagged = of(flat, None, Some("physnet1")).unwrap().unwrap();
    assert_eq!(untagged.vlan, None);
    assert_eq!(of(SegmentType::Local, None, None), Ok(None));
    for (type_, id, name) in [
        (with_id, None, Some("physnet1")),
        (with_id, Some(0), Some("physnet1")),
        (with_id, Some(4095), Some("physnet1")),
        (with_id, Some(65_640), Some("physnet1")),
        (with_id, Some(104), None),
        (flat, None, None),
        (flat, None, Some("eth1; drop")),
    ] {
        assert!(of(type_, id, name).is_err(), "{id:?} {name:?}");
    }
}

#[test]
fn what_is_no_vlan_is_said_as_it_is_written() {
    let says = |id| {
        let mut spec = segment_spec();
        (spec.type_, spec.id) = (SegmentType::Vlan, id);
        spec.physical_network = Some("physnet1".to_owned());
        SegmentDesired::from_spec(&spec).unwrap_err().to_string()
    };
    assert_eq!(says(Some(4095)), "4095 is no VLAN id from 1 to 4094");
    assert!(says(None).ends_with("no VLAN id is named"));
}

#[test]
fn hostile_segments_are_refused() {
    let hostile: [fn(&mut SegmentSpec); 11] = [
        |s| s.gateway_mac = "fa:16:3e:00:00:01 accept".to_owned(),
        |s| s.mtu = 68,
        |s| s.mtu = 65_536,
        |s| s.network.name = "blue\n".to_owned(),
        |s| s.network.uid = "a".repeat(64),
        |s| s.network.namespace = "a b".to_owned(),
        |s| s.subnets[0].cidr = "10.0.0.0/24 }".to_owned(),
        |s| s.subnets[0].gateway = Some("10.0.1.1".to_owned()),
        |s| s.subnets[0].gateway = None,
        |s| s.subnets[0].dns.push("10.0.0.1,8.8.8.8".to_owned()),
        |s| s.subnets[0].routes[0].destination = "0/0".to_owned(),
    ];
    for (index, change) in hostile.iter().enumerate() {
        let mut spec = segment_spec();
        change(&mut spec);
        assert!(SegmentDesired::from_spec(&spec).is_err(), "{index}");
    }
}

#[test]
fn hostile_ports_are_refused() {
    let hostile: [fn(&mut DomainSpec); 6] = [
        |d| d.guest.hostname = "web-1,set:known".to_owned(),
        |d| d.guest.hostname = "web-1\ndhcp-option=6,6.6.6.6".to_owned(),
        |d| d.ports[0].mac = "fa:16:3e:00:03:01,fa:16:3e:00:03:02".to_owned(),
        |d| d.ports[0].ips[0].ip = "10.0.0.31, 10.0.0.1".to_owned(),
        |d| d.ports[0].segment = INSTANCE_UID.to_owned(),
        |d| d.ports.clear(),
    ];
    for (index, change) in hostile.iter().enumerate() {
        let mut spec = domain_spec();
        change(&mut spec);
        let port = PortDesired::from_domain(&spec, 0, &segment());
        assert!(port.is_err(), "{index}");
    }
}
