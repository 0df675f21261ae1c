//! `openstack/*/meta_data.json`.

use kilonova_crds::node::DomainSpec;
use serde::Serialize;
use std::collections::BTreeMap;

/// Nova's name of the availability zone that every host is in by default.
pub(super) const AVAILABILITY_ZONE: &str = "nova";

#[derive(Serialize)]
pub(super) struct Metadata<'a> {
    /// The instance-id.
    uuid: &'a str,
    name: &'a str,
    hostname: &'a str,
    project_id: &'a str,
    availability_zone: &'a str,
    launch_index: u32,
    meta: BTreeMap<String, String>,
    public_keys: BTreeMap<String, &'a str>,
    keys: Vec<Key<'a>>,
}

#[derive(Serialize)]
struct Key<'a> {
    name: String,
    #[serde(rename = "type")]
    type_: &'a str,
    data: &'a str,
}

pub(super) fn metadata(domain: &DomainSpec) -> Metadata<'_> {
    Metadata {
        uuid: &domain.uuid,
        name: &domain.instance.name,
        hostname: &domain.guest.hostname,
        project_id: &domain.instance.namespace,
        availability_zone: AVAILABILITY_ZONE,
        launch_index: 0,
        meta: BTreeMap::new(),
        public_keys: named_keys(domain).collect(),
        keys: named_keys(domain)
            .map(|(name, data)| Key {
                name,
                type_: "ssh",
                data,
            })
            .collect(),
    }
}

/// The public keys, named by their place: a Domain has no names for them.
pub(super) fn named_keys(domain: &DomainSpec) -> impl Iterator<Item = (String, &str)> {
    let keys = domain.guest.public_keys.iter().enumerate();
    keys.map(|(index, key)| (format!("key-{index}"), key.as_str()))
}
