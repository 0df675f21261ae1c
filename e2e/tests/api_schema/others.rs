//! Changes of what is there, and what is good.

use serde_json::{Value, json};

use crate::{
    Case, api_common,
    api_common::{change, subnet},
    spec,
};

/// Changes of an object that is there.
pub fn updates() -> Vec<Case> {
    let image = "an image is immutable: make another one under another name";
    let subnets = "a subnet's cidr and gateway are immutable: make another Network";
    let interfaces =
        "interfaces are immutable: network, ips, mac and their order belong to the guest";
    let user_data = "userData is immutable: the guest was given it at its first boot";
    let key_pairs = "keyPairs are immutable: the guest was given them at its first boot";
    let hostname = "hostname is immutable: the guest was given it at its first boot";
    let class = "type, physicalNetwork and mtu are immutable: make another NetworkClass";
    let mut free_gateway = subnet();
    change(&mut free_gateway, &json!({"gateway": null}));
    vec![
        spec(
            "Flavor",
            json!({"vcpus": 2}),
            "a Flavor's sizes are immutable: make another Flavor",
        ),
        spec("NetworkClass", json!({"mtu": 9000}), class),
        spec("NetworkClass", json!({"mtu": null}), class),
        spec(
            "NetworkClass",
            json!({"physicalNetwork": "physnet2"}),
            class,
        ),
        spec("NetworkClass", json!({"type": "flat", "ids": null}), class),
        spec("Image", json!({"format": "raw"}), image),
        spec("Image", json!({"requirements": null}), image),
        spec("ClusterImage", json!({"format": "raw"}), image),
        spec(
            "KeyPair",
            json!({"publicKey": format!("{}2", api_common::PUBLIC_KEY)}),
            "a KeyPair is immutable: make another one",
        ),
        spec(
            "Network",
            json!({"class": "other"}),
            "class is immutable: make another Network",
        ),
        spec(
            "Network",
            json!({"routed": false}),
            "routed is immutable: make another Network",
        ),
        spec(
            "Network",
            json!({"routed": null}),
            "routed is immutable: make another Network",
        ),
        spec(
            "Network",
            json!({"dhcp": false}),
            "dhcp is immutable: make another Network",
        ),
        spec(
            "Network",
            json!({"subnets": [{"cidr": "10.1.0.0/24"}]}),
            subnets,
        ),
        spec("Network", json!({"subnets": [free_gateway]}), subnets),
        spec(
            "Instance",
            json!({"flavor": "big"}),
            "flavor is immutable: a running Instance is not resized",
        ),
        spec(
            "Instance",
            json!({"image": {"name": "debian-13"}}),
            "image is immutable: the root disk was made from it",
        ),
        spec("Instance", json!({"interfaces": null}), interfaces),
        spec(
            "Instance",
            json!({"interfaces": [{"name": "eth0", "network": "blue"}]}),
            interfaces,
        ),
        spec("Instance", json!({"keyPairs": ["ana"]}), key_pairs),
        spec("Instance", json!({"userData": null}), user_data),
        spec(
            "Instance",
            json!({"userData": null, "userDataFrom": {"secretKeyRef": {"name": "boot", "key": "script"}}}),
            "userDataFrom is immutable: the guest was given it at its first boot",
        ),
        spec("Instance", json!({"hostname": "other"}), hostname),
    ]
}

/// What is unusual and good.
pub fn accepted() -> Vec<(&'static str, Value)> {
    let sha512 = format!("sha512:{}", "0f".repeat(64));
    vec![
        (
            "Flavor",
            json!({"spec": {"vcpus": 512, "memory": "1.5Gi", "disk": 1_073_741_824}}),
        ),
        (
            "NetworkClass",
            json!({"spec": {"mtu": null, "ids": ["4094", "1-1"], "allowedNamespaces": {}}}),
        ),
        (
            "NetworkClass",
            json!({"spec": {"type": "flat", "ids": null, "allowedNamespaces": null}}),
        ),
        (
            "NetworkClass",
            json!({"spec": {"type": "local", "ids": null, "physicalNetwork": null}}),
        ),
        (
            "Image",
            json!({"spec": {"source": {"http": {"url": "http://[fd00::1]:8080/a?b=c", "checksum": sha512}}, "requirements": null}}),
        ),
        ("Hypervisor", json!({"spec": null})),
        (
            "Network",
            json!({"spec": {"subnets": [{"cidr": "10.0.0.0/29", "gateway": "10.0.0.6"}], "routed": null, "dhcp": null}}),
        ),
        (
            "Network",
            json!({"spec": {"subnets": [{"cidr": "172.16.0.0/12", "gateway": "172.31.255.254", "ranges": ["172.16.0.255-172.16.1.0"]}]}}),
        ),
        (
            "KeyPair",
            json!({"spec": {"publicKey": "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTY="}}),
        ),
        (
            "Instance",
            json!({"metadata": {"name": "1web"}, "spec": {"interfaces": null, "affinity": null, "keyPairs": null}}),
        ),
        (
            "Instance",
            json!({"spec": {"interfaces": [{"name": "a", "network": "blue", "ips": ["10.0.0.5", "fd00::5"]}]}}),
        ),
        (
            "Instance",
            json!({"spec": {"interfaces": [
            {"name": "a", "network": "blue", "ips": ["10.0.0.5"]}, {"name": "b", "network": "red", "ips": ["10.0.0.5"]}]}}),
        ),
        (
            "Instance",
            json!({"spec": {"tolerations": [{"operator": "Exists"}], "userData": "x".repeat(16384)}}),
        ),
        (
            "Instance",
            json!({"spec": {"userData": null, "userDataFrom": {"secretKeyRef": {"name": "boot.data-1", "key": "user_data.Sh"}}}}),
        ),
    ]
}
