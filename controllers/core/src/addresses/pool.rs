//! The addresses of one Network.

use super::subnet::{SubnetRange, number};
use super::{AddressError, Chosen};
use crate::macs::{Holders, hold, release};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// Released addresses that are kept apart; beyond that the one released longest ago counts as new.
const MAX_RELEASED: usize = 65_536;

/// One Network's subnets and holders.
#[derive(Debug, Default)]
pub struct Pool {
    subnets: Vec<SubnetRange>,
    /// For each subnet: every address of its ranges below this number is held, was released, or is
    /// never given.
    fresh_from: Vec<u128>,
    held: HashMap<IpAddr, Holders>,
    /// Released addresses of the ranges, by the order of their release.
    released: BTreeMap<u64, IpAddr>,
    released_at: HashMap<IpAddr, u64>,
    releases: u64,
}

impl Pool {
    /// Whether they differ from before.
    pub fn set_subnets(&mut self, subnets: Vec<SubnetRange>) -> bool {
        if self.subnets == subnets {
            return false;
        }
        self.fresh_from = vec![0; subnets.len()];
        self.subnets = subnets;
        let subnets = &self.subnets;
        let gives = |ip: IpAddr| subnets.iter().any(|s| s.in_ranges(ip));
        self.released.retain(|_, ip| gives(*ip));
        self.released_at.retain(|ip, _| gives(*ip));
        true
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.subnets.is_empty() && self.held.is_empty()
    }

    pub fn in_use(&self) -> bool {
        !self.held.is_empty()
    }

    pub fn hold(&mut self, ip: IpAddr, uid: &Arc<str>) {
        hold(self.held.entry(ip).or_default(), uid);
        if let Some(order) = self.released_at.remove(&ip) {
            self.released.remove(&order);
        }
    }

    pub fn release(&mut self, ip: IpAddr, uid: &str) -> bool {
        if !self.held.get_mut(&ip).is_some_and(|h| release(h, uid)) {
            return false;
        }
        self.held.remove(&ip);
        if self.subnets.iter().any(|s| s.in_ranges(ip)) {
            self.releases += 1;
            self.released.insert(self.releases, ip);
            self.released_at.insert(ip, self.releases);
            if self.released.len() > MAX_RELEASED {
                self.forget_oldest();
            }
        }
        true
    }

    fn forget_oldest(&mut self) {
        let Some((_, ip)) = self.released.pop_first() else {
            return;
        };
        self.released_at.remove(&ip);
        for (subnet, from) in self.subnets.iter().zip(&mut self.fresh_from) {
            if subnet.net.contains(&ip) {
                *from = (*from).min(number(ip));
            }
        }
    }

    pub fn others<'a>(&'a self, ip: IpAddr, uid: &'a str) -> impl Iterator<Item = &'a str> {
        self.held
            .get(&ip)
            .into_iter()
            .flatten()
            .map(|(holder, _)| &**holder)
            .filter(move |holder| *holder != uid)
    }

    /// See [`super::Addresses::choose`].
    pub fn choose(&mut self, fixed: &[String], uid: &str) -> Result<Vec<Chosen>, AddressError> {
        let mut fixed_of: Vec<Option<IpAddr>> = vec![None; self.subnets.len()];
        for text in fixed {
            let (subnet, ip) = self.check_fixed(text, uid)?;
            fixed_of[subnet] = Some(ip);
        }
        let mut all = Vec::with_capacity(self.subnets.len());
        for (index, fixed) in fixed_of.iter().enumerate() {
            let net = self.subnets[index].net;
            let v4 = |ip: &IpAddr| ip.is_ipv4() == net.addr().is_ipv4();
            let ip = match fixed {
                Some(ip) => *ip,
                // One address of a family: a fixed one in another subnet is it.
                None if fixed_of.iter().flatten().any(v4) => continue,
                None => self.next_free(index).ok_or(AddressError::Exhausted)?,
            };
            all.push(Chosen {
                ip,
                prefix_length: net.prefix_len(),
                gateway: self.subnets[index].gateway,
            });
        }
        if all.is_empty() {
            return Err(AddressError::Exhausted);
        }
        Ok(all)
    }

    fn check_fixed(&self, text: &str, uid: &str) -> Result<(usize, IpAddr), AddressError> {
        let outside = |why| AddressError::Outside {
            ip: text.to_owned(),
            why,
        };
        let ip: IpAddr = text.parse().map_err(|_| outside("it is no address"))?;
        let Some(index) = self.subnets.iter().position(|s| s.net.contains(&ip)) else {
            return Err(outside("it is in none of the Network's subnets"));
        };
        let subnet = &self.subnets[index];
        if ip == subnet.gateway {
            return Err(outside("it is the gateway"));
        }
        if subnet.never_given(number(ip)) {
            return Err(outside("it is the subnet's network or broadcast address"));
        }
        match self.others(ip, uid).next() {
            Some(holder) => Err(AddressError::Taken {
                ip,
                holder: Arc::from(holder),
            }),
            None => Ok((index, ip)),
        }
    }

    /// The lowest address that was never given, else the one that was released longest ago.
    fn next_free(&mut self, index: usize) -> Option<IpAddr> {
        let subnet = &self.subnets[index];
        let from = self.fresh_from[index];
        let fresh = |n: &u128| {
            let ip = subnet.ip(*n);
            !(subnet.never_given(*n)
                || self.held.contains_key(&ip)
                || self.released_at.contains_key(&ip))
        };
        let found = subnet
            .ranges
            .iter()
            .filter(|(_, last)| *last >= from)
            .find_map(|(first, last)| (*first.max(&from)..=*last).find(fresh));
        if let Some(n) = found {
            self.fresh_from[index] = n;
            return Some(subnet.ip(n));
        }
        self.fresh_from[index] = u128::MAX;
        let mut oldest = self.released.values();
        oldest
            .find(|ip| subnet.in_ranges(**ip) && !subnet.never_given(number(**ip)))
            .copied()
    }
}
