//! A subnet with its ranges, for both families.

use ipnet::IpNet;
use kilonova_crds::v1alpha1::Subnet;
use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr};

/// A subnet's text is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// Not a network address and prefix length.
    #[error("{text:?} is no subnet such as 10.0.0.0/24")]
    Cidr {
        /// The text.
        text: String,
        /// Why.
        source: ipnet::AddrParseError,
    },
    /// Not an address.
    #[error("{text:?} is no address")]
    Address {
        /// The text.
        text: String,
        /// Why.
        source: AddrParseError,
    },
    /// Not two addresses with a dash.
    #[error("range {0:?} is not two addresses with a dash")]
    Range(String),
    /// The end is below the start.
    #[error("range {0:?} ends before it starts")]
    Reversed(String),
    /// Two ranges have addresses in common.
    #[error("ranges {0:?} and {1:?} overlap")]
    Overlap(String, String),
    /// Something is not inside the subnet.
    #[error("{what} is not inside {cidr}")]
    Outside {
        /// What.
        what: String,
        /// The subnet.
        cidr: IpNet,
    },
    /// The gateway is the subnet's network or broadcast address.
    #[error("gateway {gateway} is the network or broadcast address of {cidr}")]
    Gateway {
        /// The gateway.
        gateway: IpAddr,
        /// The subnet.
        cidr: IpNet,
    },
    /// Nothing is left to give.
    #[error("{0} has no address to give")]
    Empty(IpNet),
}

/// A subnet as the ledger needs it. Addresses are numbers within their family here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetRange {
    /// The subnet.
    pub net: IpNet,
    /// Its gateway.
    pub gateway: IpAddr,
    /// What is given to those who name none: first and last, in order, apart from each other.
    pub ranges: Vec<(u128, u128)>,
}

/// An address as a number in its family.
pub fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

fn address(text: &str) -> Result<IpAddr, SubnetError> {
    text.trim().parse().map_err(|source| SubnetError::Address {
        text: text.to_owned(),
        source,
    })
}

impl SubnetRange {
    /// Reads a subnet and fills in its defaults: the gateway is the first address after the
    /// network's own, the range is the whole subnet.
    pub fn new(subnet: &Subnet) -> Result<Self, SubnetError> {
        let net: IpNet = subnet.cidr.parse().map_err(|source| SubnetError::Cidr {
            text: subnet.cidr.clone(),
            source,
        })?;
        let net = net.trunc();
        let gateway = match &subnet.gateway {
            Some(text) => address(text)?,
            None => from_number(net, number(net.network()).saturating_add(1)),
        };
        let mut this = Self {
            net,
            gateway,
            ranges: Vec::new(),
        };
        if !net.contains(&gateway) {
            return Err(SubnetError::Outside {
                what: format!("gateway {gateway}"),
                cidr: net,
            });
        }
        if gateway == net.network() || this.is_broadcast(gateway) {
            return Err(SubnetError::Gateway { gateway, cidr: net });
        }
        this.ranges = this.read_ranges(subnet.ranges.as_deref())?;
        let has_one = this
            .ranges
            .iter()
            .any(|(first, last)| (*first..=*last).take(4).any(|n| !this.never_given(n)));
        if has_one {
            Ok(this)
        } else {
            Err(SubnetError::Empty(net))
        }
    }

    fn read_ranges(&self, texts: Option<&[String]>) -> Result<Vec<(u128, u128)>, SubnetError> {
        let Some(texts) = texts.filter(|t| !t.is_empty()) else {
            return Ok(vec![(
                number(self.net.network()),
                number(self.net.broadcast()),
            )]);
        };
        let mut ranges = Vec::with_capacity(texts.len());
        for text in texts {
            let Some((first, last)) = text.split_once('-') else {
                return Err(SubnetError::Range(text.clone()));
            };
            let (first, last) = (address(first)?, address(last)?);
            if !(self.net.contains(&first) && self.net.contains(&last)) {
                return Err(SubnetError::Outside {
                    what: format!("range {text}"),
                    cidr: self.net,
                });
            }
            if last < first {
                return Err(SubnetError::Reversed(text.clone()));
            }
            ranges.push((number(first), number(last), text));
        }
        ranges.sort_unstable();
        if let Some(pair) = ranges.windows(2).find(|pair| pair[1].0 <= pair[0].1) {
            return Err(SubnetError::Overlap(pair[0].2.clone(), pair[1].2.clone()));
        }
        Ok(ranges.into_iter().map(|(a, b, _)| (a, b)).collect())
    }

    /// The address with that number, in this subnet's family.
    pub fn ip(&self, number: u128) -> IpAddr {
        from_number(self.net, number)
    }

    /// Whether instances that name no address may get that one.
    pub fn in_ranges(&self, ip: IpAddr) -> bool {
        let n = number(ip);
        self.net.contains(&ip) && self.ranges.iter().any(|(a, b)| (*a..=*b).contains(&n))
    }

    /// The subnet's own address, its broadcast address and the gateway are never given.
    pub fn never_given(&self, n: u128) -> bool {
        let ip = self.ip(n);
        ip == self.net.network() || ip == self.gateway || self.is_broadcast(ip)
    }

    fn is_broadcast(&self, ip: IpAddr) -> bool {
        matches!(self.net, IpNet::V4(net) if IpAddr::V4(net.broadcast()) == ip)
    }
}

fn from_number(net: IpNet, number: u128) -> IpAddr {
    match net {
        IpNet::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpNet::V6(_) => Ipv6Addr::from(number).into(),
    }
}
