//! Binding: place, claim, allocate; all of it, or nothing.

use super::named::{self, Named, NamedPort, by_binding};
use super::{BindingFault, Cluster, arc};
use crate::addresses::{AddressError, Chosen};
use crate::binding::{Binding, Inputs};
use crate::key::{ObjectKey, uid};
use crate::ledger::Source;
use crate::macs::{Mac, gateway_mac};
use crate::placement::{Request, UplinkNeed};
use crate::resolve::{Resolved, WantedInterface, resolve};
use crate::resources::Resources;
use crate::segments::SegmentKey;
use crate::wait::{Wait, WaitKey};
use kilonova_crds::v1alpha1::{BoundAddress, BoundInterface, Instance};
use std::net::IpAddr;

impl Cluster {
    /// Places the Instance, claims the room, allocates MACs and addresses: all, or nothing. The
    /// binding is assumed from then on: write it with the Instance's resourceVersion; on success
    /// observe the written Instance, on a refusal [`Cluster::undo`] it. When the answer was lost,
    /// read the Instance first.
    ///
    /// # Errors
    /// What it waits for; then nothing is held.
    pub fn bind(&mut self, inputs: &Inputs<'_>) -> Result<Binding, Wait> {
        let resolved = resolve(inputs)?;
        for network in inputs.networks.values() {
            self.world.set_network(network);
        }
        let owner = uid(&inputs.instance.metadata);
        self.world.unassume(owner);
        let touched = self.world.touched().clone();
        let bound = self.place_and_allocate(inputs.instance, resolved);
        if bound.is_err() {
            self.world.unassume(owner);
            *self.world.touched() = touched;
        }
        bound
    }

    fn place_and_allocate(
        &mut self,
        instance: &Instance,
        resolved: Resolved<'_>,
    ) -> Result<Binding, Wait> {
        let Resolved {
            request,
            claim,
            image,
            interfaces: wanted,
            public_keys,
        } = resolved;
        let placed = self.world.hosts.place(&request, &self.settings.weights);
        let node = placed.map_err(Wait::NoValidHost)?.node;
        let mut named = Named {
            resources: request.resources,
            ports: Vec::with_capacity(wanted.len()),
        };
        let Request { uid, key, .. } = request;
        let mut interfaces = Vec::with_capacity(wanted.len());
        self.claim(&uid, &key, &node, &named);
        for interface in &wanted {
            let (bound, port) = self.allocate(&uid, interface, &named)?;
            named.ports.push(port);
            // Held at once: the next interface may be of the same Network.
            self.claim(&uid, &key, &node, &named);
            interfaces.push(bound);
        }
        let known = instance.status.as_ref().and_then(|s| s.uuid.clone());
        Ok(Binding {
            uuid: known.unwrap_or(uid),
            node: node.to_string(),
            claim,
            image,
            interfaces,
            public_keys,
        })
    }

    fn claim(&mut self, uid: &str, key: &ObjectKey, node: &str, named: &Named) {
        let named = Some(named.clone());
        self.world.name(uid, key, Source::Assumed, node, named);
    }

    /// MAC and addresses of one interface; nothing is held yet.
    fn allocate(
        &mut self,
        uid: &str,
        interface: &WantedInterface<'_>,
        so_far: &Named,
    ) -> Result<(BoundInterface, NamedPort), Wait> {
        let network = &interface.network;
        let siblings = so_far.ports.iter().filter(|p| *p.network == *network.uid);
        let siblings: Vec<&NamedPort> = siblings.collect();
        let mac = self.mac(uid, interface, &siblings)?;
        let fixed = interface.spec.ips.as_deref().unwrap_or_default();
        let has = |ip: &&String| {
            let ip: Option<IpAddr> = ip.parse().ok();
            siblings
                .iter()
                .any(|p| p.ips.iter().any(|i| Some(*i) == ip))
        };
        if let Some(twice) = fixed.iter().find(has) {
            return Err(Wait::AddressOutside {
                ip: twice.clone(),
                network: network.name.to_owned(),
                why: "another interface of this instance has it".to_owned(),
            });
        }
        let chosen = self.world.addresses.choose(network.uid, fixed, uid);
        let chosen = chosen.map_err(|error| self.address_wait(interface, error))?;
        let address = |c: &Chosen| BoundAddress {
            ip: c.ip.to_string(),
            prefix_length: c.prefix_length,
            gateway: network.tells(c.gateway).then(|| c.gateway.to_string()),
        };
        let bound = BoundInterface {
            name: interface.spec.name.clone(),
            network: network.name.to_owned(),
            network_uid: network.uid.to_owned(),
            mac: mac.to_string(),
            ips: chosen.iter().map(address).collect(),
            segment: network.segment.clone(),
        };
        let port = NamedPort {
            network: arc(network.uid),
            mac: Some(mac),
            ips: chosen.iter().map(|c| c.ip).collect(),
            segment: SegmentKey::of_bound(&network.segment),
        };
        Ok((bound, port))
    }

    fn mac(
        &self,
        uid: &str,
        interface: &WantedInterface<'_>,
        siblings: &[&NamedPort],
    ) -> Result<Mac, Wait> {
        let macs = &self.world.macs;
        let Some(mac) = interface.mac else {
            return Ok(macs.choose(uid, &interface.spec.name));
        };
        let network = &interface.network;
        let never = |why: &str| Wait::AddressOutside {
            ip: mac.to_string(),
            network: network.name.to_owned(),
            why: why.to_owned(),
        };
        if mac.to_string() == gateway_mac(network.uid) {
            return Err(never("it is the gateway's"));
        }
        if siblings.iter().any(|p| p.mac == Some(mac)) {
            return Err(never("another interface of this instance has it"));
        }
        match macs.others(network.uid, mac, uid).next() {
            Some(holder) => Err(Wait::MacTaken {
                mac: mac.to_string(),
                network: network.name.to_owned(),
                network_uid: network.uid.to_owned(),
                holder: self.world.key(holder).cloned(),
            }),
            None => Ok(mac),
        }
    }

    fn address_wait(&self, interface: &WantedInterface<'_>, error: AddressError) -> Wait {
        let network = interface.network.name.to_owned();
        let network_uid = interface.network.uid.to_owned();
        match error {
            AddressError::Taken { ip, holder } => Wait::AddressTaken {
                ip,
                network,
                network_uid,
                holder: self.world.key(&holder).cloned(),
            },
            AddressError::Outside { ip, why } => Wait::AddressOutside {
                ip,
                network,
                why: why.to_owned(),
            },
            AddressError::Exhausted => Wait::AddressesExhausted {
                network,
                network_uid,
            },
        }
    }

    /// Assumes a binding that was not placed but found (an orphan's, a Domain's).
    pub fn assume(&mut self, instance: &Instance, binding: &Binding) -> Vec<WaitKey> {
        let owner = uid(&instance.metadata);
        self.world.unassume(owner);
        let key = ObjectKey::of(&instance.metadata);
        self.claim(owner, &key, &binding.node, &by_binding(binding));
        self.world.take_touched()
    }

    /// Checks the binding of an Instance that has no Domain anywhere, and no disk, against the
    /// ledgers: whether it could be made now as it was. `None`: it is good, or there is none.
    ///
    /// Between two Instances that name the same address, the one that has a domain has the better
    /// claim, then the one whose uid sorts first.
    #[must_use]
    pub fn examine(&mut self, instance: &Instance) -> Option<BindingFault> {
        let (node, named) = named::by_instance(instance)?;
        let owner = uid(&instance.metadata);
        for port in &named.ports {
            if let Some(fault) = self.port_fault(owner, port) {
                return Some(fault);
            }
        }
        let mut request = Request::new(instance, named.resources, None);
        let interfaces = instance.status.iter().flat_map(|s| &s.interfaces);
        request.constraints.uplinks = UplinkNeed::of(interfaces.map(|i| &i.segment));
        let own: Resources = self.world.ledger.claim(&node, owner).unwrap_or_default();
        let filter = self.world.hosts.check(&request, &node, own)?;
        Some(BindingFault::Node { node, filter })
    }

    fn port_fault(&self, owner: &str, port: &NamedPort) -> Option<BindingFault> {
        let world = &self.world;
        let better = |other: &str| world.is_realised(other) || other < owner;
        let taken = |ip: &&IpAddr| {
            world
                .addresses
                .others(&port.network, **ip, owner)
                .any(better)
        };
        if let Some(ip) = port.ips.iter().find(taken) {
            return Some(BindingFault::Address(*ip));
        }
        let mac = port.mac?;
        let mut others = world.macs.others(&port.network, mac, owner);
        let taken = others.any(better);
        taken.then(|| BindingFault::Mac(mac.to_string()))
    }
}
