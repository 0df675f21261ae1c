//! The node's NICs in physical networks: which the operator names, and which of them may be used.
//!
//! A NIC that carries an address, a route or another link's frames is the node's own, and is never
//! taken: the node would be cut off.

use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Longest name of a link: the kernel's `IFNAMSIZ` is 16, with the closing zero.
const LINK_MAX: usize = 15;
/// Longest name of a physical network: that of a class's field.
const NETWORK_MAX: usize = 63;

/// The name of a physical network: lower-case letters, digits and dashes, none at its ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PhysicalNetwork(String);

impl PhysicalNetwork {
    /// A physical network's name.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(name: &str) -> Result<Self, InvalidNic> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let dash = name.starts_with('-') || name.ends_with('-');
        if name.is_empty() || name.len() > NETWORK_MAX || dash || !name.bytes().all(plain) {
            return Err(InvalidNic::PhysicalNetwork(shown(name)));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PhysicalNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A NIC that the operator gave to a physical network: `physnet1=eth1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicMapping {
    /// The physical network.
    pub physical_network: PhysicalNetwork,
    /// The NIC's name.
    pub nic: String,
}

/// Why the operator's words name no NIC in a physical network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNic {
    /// There is no `=` in it.
    #[error("{0:?} is no NIC in a physical network such as physnet1=eth1")]
    Form(String),
    /// It is no physical network's name.
    #[error(
        "{0:?} is no physical network's name: lower-case letters, digits and dashes, none at its ends"
    )]
    PhysicalNetwork(String),
    /// No NIC has that name.
    #[error("{0:?} is no NIC's name")]
    Nic(String),
    /// Two NICs are in one physical network.
    #[error("physical network {0} has two NICs: make a bond of them, and name that")]
    TwoNics(PhysicalNetwork),
    /// One NIC is in two physical networks.
    #[error("NIC {0} is in two physical networks")]
    TwoNetworks(String),
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

impl FromStr for NicMapping {
    type Err = InvalidNic;

    fn from_str(text: &str) -> Result<Self, InvalidNic> {
        let parts = text.split_once('=');
        let (network, nic) = parts.ok_or_else(|| InvalidNic::Form(shown(text)))?;
        // As the kernel has it, less what would be mistaken for something else in a list.
        let plain = |b: u8| b.is_ascii_graphic() && !b"/,=:".contains(&b);
        let fits = (1..=LINK_MAX).contains(&nic.len()) && nic.bytes().all(plain);
        if !fits || [".", "..", "lo"].contains(&nic) {
            return Err(InvalidNic::Nic(shown(nic)));
        }
        Ok(Self {
            physical_network: PhysicalNetwork::new(network)?,
            nic: nic.to_owned(),
        })
    }
}

/// Which NIC of this node is in which physical network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PhysicalNetworks(BTreeMap<PhysicalNetwork, String>);

impl PhysicalNetworks {
    /// All that the operator named.
    ///
    /// # Errors
    /// When a physical network or a NIC is named twice.
    pub fn new(mappings: &[NicMapping]) -> Result<Self, InvalidNic> {
        let mut networks = BTreeMap::new();
        let mut nics = BTreeSet::new();
        for mapping in mappings {
            if !nics.insert(&mapping.nic) {
                return Err(InvalidNic::TwoNetworks(mapping.nic.clone()));
            }
            let network = mapping.physical_network.clone();
            if networks.insert(network, mapping.nic.clone()).is_some() {
                return Err(InvalidNic::TwoNics(mapping.physical_network.clone()));
            }
        }
        Ok(Self(networks))
    }

    /// The NIC in a physical network.
    #[must_use]
    pub fn nic(&self, network: &PhysicalNetwork) -> Option<&str> {
        self.0.get(network).map(String::as_str)
    }

    /// Every physical network with its NIC, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&PhysicalNetwork, &str)> {
        self.0.iter().map(|(network, nic)| (network, nic.as_str()))
    }
}

/// A NIC in a physical network, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicObserved {
    /// Its name.
    pub name: String,
    /// Its index in the node's netns.
    pub index: u32,
    /// Largest packet that it carries, in bytes.
    pub mtu: u32,
    /// Whether it is set up.
    pub up: bool,
    /// Whether it has a MAC, as what carries Ethernet's frames does.
    pub is_ethernet: bool,
    /// The link whose port it is.
    pub master: Option<String>,
    /// Its addresses, but for link-local ones, which every NIC of IPv6 has.
    pub addresses: Vec<IpNet>,
    /// Where routes over it lead, but for those that every NIC of IPv6 has.
    pub routes: Vec<IpNet>,
}

/// Why a NIC is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NicFault {
    /// The operator named none in that physical network.
    #[error("this node has no NIC in physical network {0}")]
    Unnamed(PhysicalNetwork),
    /// It is not there.
    #[error("there is no NIC {0}")]
    Missing(String),
    /// The kernel does not say what it is.
    #[error("cannot look at NIC {nic}: {why}")]
    Unreadable {
        /// The NIC.
        nic: String,
        /// What the kernel said.
        why: String,
    },
    /// It carries no Ethernet frames.
    #[error("NIC {0} carries no Ethernet frames")]
    NotEthernet(String),
    /// It is a port of another link.
    #[error("NIC {nic} is a port of {master}: it is never taken from it")]
    Port {
        /// The NIC.
        nic: String,
        /// That link.
        master: String,
    },
    /// It has an address.
    #[error("NIC {nic} carries the address {address}: it is the node's own, and is never taken")]
    Address {
        /// The NIC.
        nic: String,
        /// Its address.
        address: IpNet,
    },
    /// There is a route over it.
    #[error("NIC {nic} carries the route to {route}: it is the node's own, and is never taken")]
    Route {
        /// The NIC.
        nic: String,
        /// Where that leads.
        route: IpNet,
    },
}

impl NicObserved {
    /// What stands against its use, where something does.
    #[must_use]
    pub fn fault(&self) -> Option<NicFault> {
        let nic = self.name.clone();
        if let Some(master) = self.master.clone() {
            return Some(NicFault::Port { nic, master });
        }
        if let Some(address) = self.addresses.first().copied() {
            return Some(NicFault::Address { nic, address });
        }
        if let Some(route) = self.routes.first().copied() {
            return Some(NicFault::Route { nic, route });
        }
        (!self.is_ethernet).then_some(NicFault::NotEthernet(nic))
    }
}

/// Whether every NIC that speaks IPv6 has such an address, or route.
#[must_use]
pub fn is_everywhere(net: &IpNet) -> bool {
    match net {
        IpNet::V4(_) => false,
        IpNet::V6(net) => net.addr().is_unicast_link_local() || net.addr().is_multicast(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn nic() -> NicObserved {
        NicObserved {
            name: "eth1".to_owned(),
            index: 3,
            mtu: 1500,
            up: true,
            is_ethernet: true,
            master: None,
            addresses: Vec::new(),
            routes: Vec::new(),
        }
    }

    #[test]
    fn what_the_node_lives_by_is_not_taken() {
        assert_eq!(nic().fault(), None);
        let changes: [fn(&mut NicObserved); 4] = [
            |nic| nic.master = Some("br-lan".to_owned()),
            |nic| nic.addresses = vec!["192.0.2.2/24".parse().unwrap()],
            |nic| nic.routes = vec!["::/0".parse().unwrap()],
            |nic| nic.is_ethernet = false,
        ];
        for change in changes {
            let mut used = nic();
            change(&mut used);
            let said = used.fault().unwrap().to_string();
            assert!(said.contains("eth1"), "{said}");
        }
        assert!(is_everywhere(&"fe80::1/64".parse().unwrap()));
        assert!(is_everywhere(&"ff00::/8".parse().unwrap()));
        assert!(!is_everywhere(&"fd00::1/64".parse().unwrap()));
        assert!(!is_everywhere(&"169.254.0.0/16".parse().unwrap()));
    }

    #[test]
    fn mappings_are_read_and_nothing_is_named_twice() {
        let read = |text: &str| text.parse::<NicMapping>();
        let one = read("physnet1=enp3s0f0.7").unwrap();
        assert_eq!(one.nic, "enp3s0f0.7");
        for wrong in [
            "",
            "eth1",
            "=eth1",
            "physnet1=",
            "Physnet1=eth1",
            "physnet1=lo",
            "physnet1=..",
            "physnet1=a/b",
            "physnet1=eth1 ",
            "physnet1=eth1=2",
            "physnet1=a-very-long-name",
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        let all = |texts: &[&str]| {
            let mappings: Vec<_> = texts.iter().map(|text| read(text).unwrap()).collect();
            PhysicalNetworks::new(&mappings)
        };
        let good = all(&["a=eth1", "b=eth2"]).unwrap();
        let nics: Vec<_> = good.iter().map(|(_, nic)| nic).collect();
        assert_eq!(nics, ["eth1", "eth2"]);
        assert!(all(&["a=eth1", "b=eth1"]).is_err());
        assert!(all(&["a=eth1", "a=eth2"]).is_err());
    }
}
