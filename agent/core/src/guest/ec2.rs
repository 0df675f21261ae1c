//! `ec2/*/meta-data.json`, for guests that know nothing else.

use super::metadata::named_keys;
use kilonova_crds::node::DomainSpec;
use serde_json::{Value, json};

/// The EC2 metadata. Its instance-id starts with `i-`, as CirrOS and other readers of this layout
/// demand, and is derived from the uuid, so that it is as stable.
pub(super) fn metadata(domain: &DomainSpec) -> Value {
    let hex: String = domain.uuid.chars().filter(|c| *c != '-').take(17).collect();
    let keys: serde_json::Map<_, _> = named_keys(domain)
        .enumerate()
        .map(|(index, (name, key))| {
            let entry = json!({"_name": format!("{index}={name}"), "openssh-key": key});
            (index.to_string(), entry)
        })
        .collect();
    let address = domain.ports.iter().flat_map(|port| &port.ips).next();
    json!({
        "ami-launch-index": 0,
        "block-device-mapping": {"ami": "vda", "root": "/dev/vda"},
        "hostname": domain.guest.hostname,
        "instance-action": "none",
        "instance-id": format!("i-{hex}"),
        "local-hostname": domain.guest.hostname,
        "local-ipv4": address.map(|address| &address.ip),
        "placement": {"availability-zone": super::metadata::AVAILABILITY_ZONE},
        "public-hostname": domain.guest.hostname,
        "public-keys": keys,
        "reservation-id": format!("r-{hex}"),
        "security-groups": [],
    })
}
