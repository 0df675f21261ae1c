//! From what an Instance names to what it needs: everything that must be known before it can be
//! placed.

use crate::binding::{ImageView, Inputs};
use crate::key::uid;
use crate::key_pairs::fingerprint;
use crate::macs::Mac;
use crate::placement::{Request, UplinkNeed};
use crate::resources::{Resources, bytes};
use crate::wait::Wait;
use ipnet::IpNet;
use kilonova_crds::condition::{find, is_true, types};
use kilonova_crds::v1alpha1::{
    BoundAddress, BoundImage, BoundSegment, Claim, FlavorSpec, Interface, Network, Subnet,
};
use kilonova_crds::{Condition, Quantity};
use std::net::IpAddr;

/// What an Instance needs, with nothing missing.
pub struct Resolved<'a> {
    pub request: Request,
    pub claim: Claim,
    pub image: BoundImage,
    pub interfaces: Vec<WantedInterface<'a>>,
    pub public_keys: Vec<String>,
}

/// An interface with its Network.
pub struct WantedInterface<'a> {
    pub spec: &'a Interface,
    pub network: NetworkView<'a>,
    pub mac: Option<Mac>,
}

/// A Network that can be attached to.
pub struct NetworkView<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub segment: BoundSegment,
    network: &'a Network,
}

impl<'a> NetworkView<'a> {
    /// The Network of that name.
    pub fn new(inputs: &Inputs<'a>, name: &str) -> Result<Self, Wait> {
        let Some(network) = inputs.networks.get(name).copied() else {
            return Err(Wait::NetworkMissing(name.to_owned()));
        };
        let not_ready = |message: String| Wait::NetworkNotReady {
            network: name.to_owned(),
            message,
        };
        if network.metadata.deletion_timestamp.is_some() {
            return Err(not_ready("it is being deleted".to_owned()));
        }
        let status = network.status.as_ref();
        let conditions = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
        let segment = status.and_then(|s| s.segment.as_ref());
        let Some(segment) = segment.filter(|_| is_true(conditions, types::READY)) else {
            return Err(not_ready(said(conditions, "it was not looked at yet")));
        };
        Ok(Self {
            name: network.metadata.name.as_deref().unwrap_or_default(),
            uid: uid(&network.metadata),
            segment: BoundSegment {
                type_: segment.type_,
                id: segment.id,
                physical_network: segment.physical_network.clone(),
                mtu: segment.mtu,
            },
            network,
        })
    }

    /// Whether guests are told of their subnet's gateway: it is the node's, or a router's that the
    /// Network names.
    pub fn tells(&self, gateway: IpAddr) -> bool {
        let names = |subnet: &Subnet| {
            let named = subnet.gateway.as_ref().and_then(|g| g.parse().ok());
            named == Some(gateway)
        };
        let spec = &self.network.spec;
        spec.routed() || spec.subnets.iter().any(names)
    }

    /// An address of the Network with what a guest must know of its subnet.
    pub fn bound_address(&self, ip: &str) -> BoundAddress {
        let parsed: Option<IpAddr> = ip.parse().ok();
        let within = |subnet: &&Subnet| {
            let net = subnet.cidr.parse::<IpNet>().ok();
            net.zip(parsed).is_some_and(|(net, ip)| net.contains(&ip))
        };
        let subnet = self.network.spec.subnets.iter().find(within);
        let known = subnet.and_then(|s| crate::addresses::read_subnet(s).ok());
        BoundAddress {
            ip: ip.to_owned(),
            prefix_length: known.as_ref().map_or(0, |k| k.net.prefix_len()),
            gateway: known
                .filter(|k| self.tells(k.gateway))
                .map(|k| k.gateway.to_string()),
        }
    }
}

/// What the Ready condition says, or `else_`.
fn said(conditions: &[Condition], else_: &str) -> String {
    let ready = find(conditions, types::READY);
    let message = ready.map(|c| c.message.as_str()).unwrap_or_default();
    let message = if message.is_empty() { else_ } else { message };
    message.to_owned()
}

/// Resolves all that the Instance names.
pub fn resolve<'a>(inputs: &Inputs<'a>) -> Result<Resolved<'a>, Wait> {
    let spec = &inputs.instance.spec;
    let Some(flavor) = inputs.flavor else {
        return Err(Wait::FlavorMissing(spec.flavor.clone()));
    };
    let Some(view) = &inputs.image else {
        return Err(Wait::ImageMissing(spec.image.clone()));
    };
    let image = image(inputs, view)?;
    flavor_suffices(inputs, &flavor.spec, view, &image)?;
    let interfaces = spec.interfaces().iter();
    let interfaces = interfaces
        .map(|i| interface(inputs, i))
        .collect::<Result<Vec<_>, _>>()?;
    let claim = Claim {
        flavor: spec.flavor.clone(),
        vcpus: flavor.spec.vcpus,
        memory: flavor.spec.memory.clone(),
        disk: flavor.spec.disk.clone(),
    };
    let requirements = view.spec.requirements.as_ref();
    let mut request = Request::new(inputs.instance, Resources::from(&claim), requirements);
    request.constraints.uplinks = UplinkNeed::of(interfaces.iter().map(|i| &i.network.segment));
    request.refused = inputs.refused.iter().map(ToString::to_string).collect();
    Ok(Resolved {
        request,
        claim,
        image,
        interfaces,
        public_keys: public_keys(inputs)?,
    })
}

fn image(inputs: &Inputs<'_>, view: &ImageView<'_>) -> Result<BoundImage, Wait> {
    let conditions = view.status.map(|s| s.conditions.as_slice());
    let conditions = conditions.unwrap_or_default();
    let size = view.status.and_then(|s| s.virtual_size.clone());
    let Some(virtual_size) = size.filter(|_| is_true(conditions, types::READY)) else {
        return Err(Wait::ImageNotReady {
            image: inputs.instance.spec.image.clone(),
            message: said(conditions, "its header was not read yet"),
        });
    };
    Ok(BoundImage {
        url: view.spec.source.http.url.clone(),
        checksum: view.spec.source.http.checksum.clone(),
        format: view.spec.format,
        virtual_size,
        disk_created: None,
    })
}

/// The Flavor gives what the image needs: its minima, and room for its disk.
fn flavor_suffices(
    inputs: &Inputs<'_>,
    flavor: &FlavorSpec,
    view: &ImageView<'_>,
    image: &BoundImage,
) -> Result<(), Wait> {
    let least = view.spec.requirements.clone().unwrap_or_default();
    let needs = [
        ("memory", &flavor.memory, least.min_memory),
        ("disk", &flavor.disk, least.min_disk),
        ("disk", &flavor.disk, Some(image.virtual_size.clone())),
    ];
    for (resource, has, needs) in needs {
        if let Some(needs) = needs.filter(|n| bytes(n) > bytes(has)) {
            return Err(Wait::FlavorTooSmall {
                flavor: inputs.instance.spec.flavor.clone(),
                image: inputs.instance.spec.image.clone(),
                resource,
                has: Quantity::clone(has),
                needs,
            });
        }
    }
    Ok(())
}

fn interface<'a>(inputs: &Inputs<'a>, spec: &'a Interface) -> Result<WantedInterface<'a>, Wait> {
    let network = NetworkView::new(inputs, &spec.network)?;
    let mac = spec.mac.as_ref().map(|text| {
        text.parse().map_err(|_| Wait::AddressOutside {
            ip: text.clone(),
            network: spec.network.clone(),
            why: "it is no MAC address".to_owned(),
        })
    });
    Ok(WantedInterface {
        spec,
        network,
        mac: mac.transpose()?,
    })
}

/// The public keys that the guest gets, in the order of their names in the spec.
pub fn public_keys(inputs: &Inputs<'_>) -> Result<Vec<String>, Wait> {
    let names = inputs.instance.spec.key_pairs().iter();
    names
        .map(|name| {
            let Some(key_pair) = inputs.key_pairs.get(name.as_str()) else {
                return Err(Wait::KeyPairMissing(name.clone()));
            };
            let public_key = &key_pair.spec.public_key;
            match fingerprint(public_key) {
                Ok(_) => Ok(public_key.clone()),
                Err(error) => Err(Wait::KeyPairInvalid {
                    key_pair: name.clone(),
                    message: error.to_string(),
                }),
            }
        })
        .collect()
}
