//! Addresses: which of each Network's are held, and by whom.
//!
//! An address can be named by several objects of one Instance (its binding, its Domains, an
//! orphan); it is free when the last names it no more. What is held stays held when the Network
//! changes or goes. Facts are never refused here; what is new is, when it collides.
//!
//! A released address is not given again while there is another: first what was never given, the
//! lowest first, then what was released longest ago. (The order of releases is known since this
//! ledger was built, not before: it is a courtesy to caches of neighbours, not a promise.)

mod pool;
mod subnet;

pub use subnet::SubnetError;

use pool::Pool;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use subnet::SubnetRange;

/// A subnet with its defaults filled in.
pub(crate) fn read_subnet(
    subnet: &kilonova_crds::v1alpha1::Subnet,
) -> Result<SubnetRange, SubnetError> {
    SubnetRange::new(subnet)
}

/// Why an address cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another Instance holds it.
    #[error("address {ip} is held by the Instance with uid {holder}")]
    Taken {
        /// The address.
        ip: IpAddr,
        /// The holder's uid.
        holder: Arc<str>,
    },
    /// It is in no subnet, or one that is never given.
    #[error("address {ip} cannot be given: {why}")]
    Outside {
        /// The address as it is written.
        ip: String,
        /// Why not.
        why: &'static str,
    },
    /// Every address of the ranges is held.
    #[error("every address is held")]
    Exhausted,
}

/// An address that may be given, with what a guest must know of its subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The address.
    pub ip: IpAddr,
    /// The subnet's prefix length.
    pub prefix_length: u8,
    /// The subnet's gateway.
    pub gateway: IpAddr,
}

/// The address ledger of all Networks.
#[derive(Debug, Default)]
pub struct Addresses {
    pools: HashMap<Arc<str>, Pool>,
}

impl Addresses {
    /// The Network's subnets as they are now; whether they differ from before.
    ///
    /// # Errors
    /// When a subnet is no subnet; then the Network has none.
    pub fn set_network(
        &mut self,
        uid: &Arc<str>,
        subnets: &[kilonova_crds::v1alpha1::Subnet],
    ) -> Result<bool, SubnetError> {
        let pool = self.pools.entry(Arc::clone(uid)).or_default();
        let parsed: Result<Vec<_>, _> = subnets.iter().map(SubnetRange::new).collect();
        match parsed {
            Ok(subnets) => Ok(pool.set_subnets(subnets)),
            Err(error) => {
                pool.set_subnets(Vec::new());
                Err(error)
            }
        }
    }

    /// The Network is gone. What is held of it stays held.
    pub fn forget_network(&mut self, uid: &str) {
        if let Some(pool) = self.pools.get_mut(uid) {
            pool.set_subnets(Vec::new());
            if pool.is_empty() {
                self.pools.remove(uid);
            }
        }
    }

    /// The Instance holds the address, once more.
    pub fn hold(&mut self, network: &Arc<str>, ip: IpAddr, uid: &Arc<str>) {
        let pool = self.pools.entry(Arc::clone(network)).or_default();
        pool.hold(ip, uid);
    }

    /// The Instance holds the address once less; whether it is free now.
    pub fn release(&mut self, network: &str, ip: IpAddr, uid: &str) -> bool {
        let Some(pool) = self.pools.get_mut(network) else {
            return false;
        };
        let freed = pool.release(ip, uid);
        if pool.is_empty() {
            self.pools.remove(network);
        }
        freed
    }

    /// Who else than that Instance holds the address.
    pub fn others<'a>(
        &'a self,
        network: &str,
        ip: IpAddr,
        uid: &'a str,
    ) -> impl Iterator<Item = &'a str> {
        self.pools
            .get(network)
            .into_iter()
            .flat_map(move |pool| pool.others(ip, uid))
    }

    /// Whether an address of the Network is held by anyone.
    #[must_use]
    pub fn in_use(&self, network: &str) -> bool {
        self.pools.get(network).is_some_and(Pool::in_use)
    }

    /// Checks the fixed addresses of one interface of an Instance and chooses one in each subnet
    /// whose family they leave out; in the order of the subnets. Holds none of them yet.
    ///
    /// # Errors
    /// When one cannot be given, or no free one is left.
    pub fn choose(
        &mut self,
        network: &str,
        fixed: &[String],
        uid: &str,
    ) -> Result<Vec<Chosen>, AddressError> {
        match self.pools.get_mut(network) {
            Some(pool) => pool.choose(fixed, uid),
            None => Err(AddressError::Exhausted),
        }
    }
}

#[cfg(test)]
mod tests;
