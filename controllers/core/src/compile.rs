//! Compiles what people want into what one node must have.

use crate::addresses::read_subnet;
use crate::binding::Binding;
use crate::key::{ObjectKey, uid};
use crate::macs::gateway_mac;
use kilonova_crds::node::{
    Disposition, DomainGuest, DomainImage, DomainInstance, DomainPort, DomainSpec, RootDisk,
    SegmentNetwork, SegmentSpec, SegmentSubnet,
};
use kilonova_crds::v1alpha1::{
    BoundAddress, BoundImage, BoundInterface, ImageFormat, ImageKind, Instance, InstanceSpec,
    Network, Orphan, OrphanPort, Power, RestartPolicy, Subnet,
};

/// The Domain that a bound Instance needs, with disposition Run. `None`: it is not bound (a
/// binding is whole or none).
#[must_use]
pub fn domain_spec(instance: &Instance, namespace_uid: &str) -> Option<DomainSpec> {
    let binding = Binding::of(instance.status.as_ref()?)?;
    let key = ObjectKey::of(&instance.metadata);
    let spec = &instance.spec;
    let hostname = spec.hostname.clone().unwrap_or_else(|| key.name.clone());
    let BoundImage {
        kind,
        url,
        checksum,
        format,
        virtual_size,
        disk_created,
    } = binding.image;
    Some(DomainSpec {
        instance: DomainInstance {
            namespace: key.namespace,
            namespace_uid: namespace_uid.to_owned(),
            name: key.name,
            uid: uid(&instance.metadata).to_owned(),
        },
        uuid: binding.uuid,
        vcpus: binding.claim.vcpus,
        memory: binding.claim.memory,
        disk: binding.claim.disk,
        image: DomainImage {
            kind,
            url,
            checksum,
            format,
            virtual_size,
        },
        root_disk: match disk_created {
            Some(true) => RootDisk::Existing,
            _ => RootDisk::Create,
        },
        ports: binding.interfaces.into_iter().map(port).collect(),
        guest: DomainGuest {
            hostname,
            public_keys: binding.public_keys,
            user_data: spec.user_data.clone(),
            user_data_secret: spec
                .user_data_from
                .as_ref()
                .map(|_| uid(&instance.metadata).to_owned()),
        },
        power: spec.power(),
        restart_policy: spec.restart_policy(),
        termination_grace_period_seconds: spec.grace_seconds(),
        disposition: Disposition::Run,
        forfeited: false,
    })
}

fn port(interface: BoundInterface) -> DomainPort {
    DomainPort {
        name: interface.name,
        mac: interface.mac,
        ips: interface.ips,
        segment: interface.network_uid,
    }
}

/// A Domain for an orphan whose Instance is being deleted without a binding: what the orphan said
/// of itself. Of use only with the order to purge it; nothing could be made from it.
#[must_use]
pub fn orphan_spec(orphan: &Orphan) -> DomainSpec {
    let bound_address = |ip: &String| BoundAddress {
        ip: ip.clone(),
        prefix_length: 0,
        gateway: None,
    };
    let port = |(index, port): (usize, &OrphanPort)| DomainPort {
        name: format!("eth{index}"),
        mac: port.mac.clone(),
        ips: port.ips.iter().map(bound_address).collect(),
        segment: port.network_uid.clone(),
    };
    DomainSpec {
        instance: DomainInstance {
            namespace: orphan.namespace.clone(),
            namespace_uid: orphan.namespace_uid.clone(),
            name: orphan.name.clone(),
            uid: orphan.uid.clone(),
        },
        uuid: orphan.uuid.clone(),
        vcpus: orphan.claim.vcpus,
        memory: orphan.claim.memory.clone(),
        disk: orphan.claim.disk.clone(),
        image: DomainImage {
            kind: ImageKind::Image,
            url: String::new(),
            checksum: String::new(),
            format: ImageFormat::Qcow2,
            virtual_size: orphan.claim.disk.clone(),
        },
        root_disk: RootDisk::Existing,
        ports: orphan.ports.iter().enumerate().map(port).collect(),
        guest: DomainGuest {
            hostname: orphan.name.clone(),
            public_keys: Vec::new(),
            user_data: None,
            user_data_secret: None,
        },
        power: Power::Off,
        restart_policy: RestartPolicy::Never,
        termination_grace_period_seconds: InstanceSpec::DEFAULT_GRACE_SECONDS,
        disposition: Disposition::Run,
        forfeited: false,
    }
}

/// `wanted` as it is written over an existing Domain: what was said first of the namespace's uid
/// stays, and a root disk that had to exist has to still.
#[must_use]
pub fn over_existing(existing: &DomainSpec, mut wanted: DomainSpec) -> DomainSpec {
    wanted
        .instance
        .namespace_uid
        .clone_from(&existing.instance.namespace_uid);
    if existing.root_disk == RootDisk::Existing {
        wanted.root_disk = RootDisk::Existing;
    }
    wanted
}

/// Whether an existing Domain must be rewritten to become what is wanted. A root disk that was made
/// under `rootDisk: Create` is no reason (the agent knows that it made it), nor is another
/// `namespaceUid` (what was said first stays).
#[must_use]
pub fn needs_update(existing: &DomainSpec, wanted: &DomainSpec) -> bool {
    let mut wanted = over_existing(existing, wanted.clone());
    wanted.root_disk = existing.root_disk;
    *existing != wanted
}

/// The Segment that a node with a port of that Network needs. `None`: its segment is not chosen
/// yet (the Network is not Ready), or its subnets are no subnets.
#[must_use]
pub fn segment_spec(network: &Network) -> Option<SegmentSpec> {
    let segment = network.status.as_ref()?.segment.as_ref()?;
    let key = ObjectKey::of(&network.metadata);
    let network_uid = uid(&network.metadata);
    let routed = network.spec.routed();
    let subnets = network.spec.subnets.iter();
    Some(SegmentSpec {
        network: SegmentNetwork {
            namespace: key.namespace,
            name: key.name,
            uid: network_uid.to_owned(),
        },
        type_: segment.type_,
        id: segment.id,
        physical_network: segment.physical_network.clone(),
        mtu: segment.mtu,
        routed,
        dhcp: network.spec.dhcp(),
        gateway_mac: gateway_mac(network_uid),
        subnets: subnets
            .map(|s| segment_subnet(s, routed))
            .collect::<Option<_>>()?,
    })
}

/// A subnet with its defaults. Where the network is routed, the gateway is the first address, and
/// the DNS server; else there is a router where one is named.
fn segment_subnet(subnet: &Subnet, routed: bool) -> Option<SegmentSubnet> {
    let read = read_subnet(subnet).ok()?;
    let is_told = routed || subnet.gateway.is_some();
    let gateway = is_told.then(|| read.gateway.to_string());
    let default_dns = || gateway.iter().filter(|_| routed).cloned().collect();
    Some(SegmentSubnet {
        cidr: read.net.to_string(),
        dns: subnet.dns.clone().unwrap_or_else(default_dns),
        routes: subnet.routes.clone().unwrap_or_default(),
        gateway,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
