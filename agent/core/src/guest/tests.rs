#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use kilonova_crds::node::{DomainPort, SegmentSpec};
use proptest::prelude::*;
use serde_json::{Value, json};

const UUID: &str = "6f1c0a52-9d1e-4b57-8a53-0d8e35bfb0c1";

fn domain() -> DomainSpec {
    let ports = ["net-a", "net-b"].map(|segment| {
        let (name, ip, gateway) = match segment {
            "net-a" => ("eth0", "10.0.0.21", Some("10.0.0.1")),
            _ => ("eth1", "192.168.7.9", None),
        };
        json!({"name": name, "mac": format!("fa:16:3e:00:00:{:02x}", name.len()), "segment": segment,
               "ips": [{"ip": ip, "prefixLength": 24, "gateway": gateway}]})
    });
    serde_json::from_value(json!({
        "instance": {"namespace": "shop", "namespaceUid": "n", "name": "web", "uid": "u"},
        "uuid": UUID, "vcpus": 1, "memory": "128Mi", "disk": "1Gi",
        "image": {"url": "http://x", "checksum": "sha256:", "format": "qcow2", "virtualSize": "1Gi"},
        "rootDisk": "Create", "ports": ports, "power": "On", "restartPolicy": "Always",
        "guest": {"hostname": "web", "publicKeys": ["ssh-ed25519 AAAA a@b", "ssh-rsa BBBB"],
                  "userData": "#!/bin/sh\n\u{1f980}\r\n"},
        "terminationGracePeriodSeconds": 60, "disposition": "Run",
    }))
    .unwrap()
}

fn segments() -> Vec<SegmentSpec> {
    let segment = |uid: &str, dhcp: bool, subnet: Value| {
        json!({"network": {"namespace": "shop", "name": uid, "uid": uid}, "type": "local",
               "mtu": 1450, "routed": dhcp, "dhcp": dhcp, "gatewayMac": "fa:16:3e:ff:ff:ff",
               "subnets": [subnet]})
    };
    let dhcp = segment(
        "net-a",
        true,
        json!({"cidr": "10.0.0.0/24", "gateway": "10.0.0.1", "dns": ["9.9.9.9", "1.1.1.1"]}),
    );
    let fixed = segment(
        "net-b",
        false,
        json!({"cidr": "192.168.7.0/24", "gateway": "192.168.7.1", "dns": ["1.1.1.1"],
               "routes": [{"destination": "172.16.0.0/12", "nextHop": "192.168.7.254"}]}),
    );
    let type_ = serde_json::to_value(kilonova_crds::v1alpha1::SegmentType::Local).unwrap();
    [fixed, dhcp]
        .into_iter()
        .map(|mut segment| {
            segment["type"] = type_.clone();
            serde_json::from_value(segment).unwrap()
        })
        .collect()
}

fn json(files: &Files, path: &str) -> Value {
    serde_json::from_slice(&files[path]).unwrap()
}

#[test]
fn a_guest_is_told_who_it_is() {
    let files = files(&domain(), &segments()).unwrap();
    assert_eq!(
        json(&files, "openstack/latest/meta_data.json"),
        json!({
            "uuid": UUID, "name": "web", "hostname": "web", "project_id": "shop",
            "availability_zone": "nova", "launch_index": 0, "meta": {},
            "public_keys": {"key-0": "ssh-ed25519 AAAA a@b", "key-1": "ssh-rsa BBBB"},
            "keys": [{"name": "key-0", "type": "ssh", "data": "ssh-ed25519 AAAA a@b"},
                     {"name": "key-1", "type": "ssh", "data": "ssh-rsa BBBB"}],
        })
    );
    let ec2 = json(&files, "ec2/latest/meta-data.json");
    assert_eq!(ec2["instance-id"], "i-6f1c0a529d1e4b578");
    assert_eq!(ec2["local-ipv4"], "10.0.0.21");
    assert_eq!(ec2["public-keys"]["1"]["openssh-key"], "ssh-rsa BBBB");
    assert_eq!(ec2["public-keys"]["1"]["_name"], "1=key-1");
}

#[test]
fn a_guest_is_told_its_network() {
    let files = files(&domain(), &segments()).unwrap();
    let link = |name: &str, mac: &str, segment: &str| {
        json!({"id": name, "vif_id": format!("{segment}-{mac}"), "type": "phy", "mtu": 1450,
               "ethernet_mac_address": mac})
    };
    let dns = |address: &str| json!({"type": "dns", "address": address});
    assert_eq!(
        json(&files, "openstack/latest/network_data.json"),
        json!({
            "links": [link("eth0", "fa:16:3e:00:00:04", "net-a"),
                      link("eth1", "fa:16:3e:00:00:04", "net-b")],
            "networks": [
                {"id": "eth0-ipv4", "type": "ipv4_dhcp", "link": "eth0", "network_id": "net-a"},
                {"id": "eth1-ipv4", "type": "ipv4", "link": "eth1", "network_id": "net-b",
                 "ip_address": "192.168.7.9", "netmask": "255.255.255.0",
                 "routes": [{"network": "172.16.0.0", "netmask": "255.240.0.0",
                             "gateway": "192.168.7.254"}],
                 "services": [dns("1.1.1.1")]},
            ],
            "services": [dns("1.1.1.1"), dns("9.9.9.9")],
        })
    );
}

#[test]
fn an_address_without_dhcp_has_its_default_route() {
    let mut segments = segments();
    for segment in &mut segments {
        segment.dhcp = false;
    }
    let files = files(&domain(), &segments).unwrap();
    let network = json(&files, "openstack/latest/network_data.json");
    let default = json!([{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"}]);
    assert_eq!(network["networks"][0]["routes"], default);
}

#[test]
fn all_versions_say_the_same() {
    let files = files(&domain(), &segments()).unwrap();
    let paths: Vec<_> = files.keys().map(String::as_str).collect();
    let mut expected = Vec::new();
    for version in ["2009-04-04", "latest"] {
        expected.push(format!("ec2/{version}/meta-data.json"));
        expected.push(format!("ec2/{version}/user-data"));
    }
    for version in ["2018-08-27", "2020-10-14", "latest"] {
        for name in [
            "meta_data.json",
            "network_data.json",
            "user_data",
            "vendor_data.json",
        ] {
            expected.push(format!("openstack/{version}/{name}"));
            let (path, latest) = (&files[&format!("openstack/{version}/{name}")], "latest");
            assert_eq!(path, &files[&format!("openstack/{latest}/{name}")]);
        }
    }
    assert_eq!(paths, expected);
    let user_data = "#!/bin/sh\n\u{1f980}\r\n".as_bytes();
    assert_eq!(files["openstack/latest/user_data"], user_data);
    assert_eq!(files["ec2/latest/user-data"], user_data);
    assert_eq!(files["openstack/latest/vendor_data.json"], b"{}");
}

#[test]
fn without_user_data_there_is_no_such_file() {
    let mut domain = domain();
    domain.guest.user_data = None;
    let files = files(&domain, &segments()).unwrap();
    assert!(!files.keys().any(|path| path.contains("user")));
}

#[test]
fn says_what_cannot_be_told() {
    let missing = files(&domain(), &segments()[..1]);
    assert!(matches!(missing, Err(GuestError::Segment { .. })));
    for (ip, prefix_length) in [("10.0.0.x", 24), ("10.0.0.1", 33)] {
        let mut domain = domain();
        domain.ports[0].ips[0].ip = ip.to_owned();
        domain.ports[0].ips[0].prefix_length = prefix_length;
        let bad = files(&domain, &segments());
        assert!(matches!(bad, Err(GuestError::Address { .. })), "{bad:?}");
    }
    let mut segments = segments();
    segments[0].subnets[0].routes[0].destination = "everywhere".to_owned();
    let bad = files(&domain(), &segments);
    assert!(matches!(bad, Err(GuestError::Route { .. })), "{bad:?}");
}

#[test]
fn a_domain_without_ports_has_no_network() {
    let mut domain = domain();
    domain.ports = Vec::<DomainPort>::new();
    let files = files(&domain, &[]).unwrap();
    let network = json(&files, "openstack/latest/network_data.json");
    assert_eq!(
        network,
        json!({"links": [], "networks": [], "services": []})
    );
    assert_eq!(
        json(&files, "ec2/latest/meta-data.json")["local-ipv4"],
        Value::Null
    );
}

#[test]
fn a_digest_tells_files_apart() {
    let set = |pairs: &[(&str, &str)]| -> Files {
        let owned =
            |(path, content): &(&str, &str)| (path.to_string(), content.as_bytes().to_vec());
        pairs.iter().map(owned).collect()
    };
    let sets = [
        set(&[]),
        set(&[("a", "")]),
        set(&[("", "a")]),
        set(&[("a", "b")]),
        set(&[("ab", "")]),
        set(&[("a", "b"), ("c", "d")]),
        set(&[("a", "bc"), ("", "d")]),
    ];
    let digests: std::collections::BTreeSet<_> = sets.iter().map(digest).collect();
    assert_eq!(digests.len(), sets.len());
    assert!(digests.iter().all(|digest| digest.len() == 64));
    assert_eq!(digest(&sets[5]), digest(&sets[5].clone()));
}

#[test]
fn user_data_of_a_secret_is_in_no_plan_and_in_the_same_places() {
    let mut domain = domain();
    let inline = files(&domain, &segments()).unwrap();
    let data = domain.guest.user_data.take().unwrap();
    let without = Drive::new(&domain, &segments()).unwrap();
    domain.guest.user_data_secret = Some("uid-web".into());
    let drive = Drive::new(&domain, &segments()).unwrap();
    assert_eq!(drive.files, without.files);
    assert_eq!(drive.with_secret(data.as_bytes()), inline);
    // A drive that never had any is made anew; one that had it is not, whatever the Secret's name.
    assert_ne!(drive.digest(), without.digest());
    assert_eq!(without.digest(), digest(&without.files));
    domain.guest.user_data_secret = Some("uid-other".into());
    let other = Drive::new(&domain, &segments()).unwrap();
    assert_eq!(other.digest(), drive.digest());
}

proptest! {
    /// Whatever a tenant writes, the guest reads that and nothing else.
    #[test]
    fn hostile_texts_come_back(name in any::<String>(), key in any::<String>(), data in any::<String>()) {
        let mut domain = domain();
        domain.instance.name = name.clone();
        domain.guest.hostname = name.clone();
        domain.guest.public_keys = vec![key.clone()];
        domain.guest.user_data = Some(data.clone());
        domain.ports[0].name = name.clone();
        let written = files(&domain, &segments()).unwrap();
        prop_assert_eq!(written.len(), 16);
        let metadata = json(&written, "openstack/2018-08-27/meta_data.json");
        prop_assert_eq!(&metadata["hostname"], &Value::from(name.clone()));
        prop_assert_eq!(&metadata["keys"][0]["data"], &Value::from(key.clone()));
        let ec2 = json(&written, "ec2/latest/meta-data.json");
        prop_assert_eq!(&ec2["public-keys"]["0"]["openssh-key"], &Value::from(key));
        let network = json(&written, "openstack/latest/network_data.json");
        prop_assert_eq!(&network["links"][0]["id"], &Value::from(name));
        prop_assert_eq!(written["openstack/latest/user_data"].as_slice(), data.as_bytes());
        prop_assert_eq!(files(&domain, &segments()).unwrap(), written);
    }
}
