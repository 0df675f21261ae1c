//! Amounts of what an Instance occupies.

use kilonova_crds::Quantity;
use kilonova_crds::v1alpha1::{Capacity, Claim};

/// An amount of each resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// Virtual CPUs.
    pub vcpus: u64,
    /// Memory, in bytes.
    pub memory: u64,
    /// Disk, in bytes.
    pub disk: u64,
}

/// The size in bytes; what is no size counts as the largest, so that it fits nowhere.
#[must_use]
pub fn bytes(quantity: &Quantity) -> u64 {
    quantity.bytes().unwrap_or(u64::MAX)
}

impl Resources {
    /// Nothing of anything.
    pub const ZERO: Self = Self {
        vcpus: 0,
        memory: 0,
        disk: 0,
    };

    /// The sum, at most `u64::MAX` of each.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.saturating_add(other.vcpus),
            memory: self.memory.saturating_add(other.memory),
            disk: self.disk.saturating_add(other.disk),
        }
    }

    /// The difference, at least 0 of each.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.saturating_sub(other.vcpus),
            memory: self.memory.saturating_sub(other.memory),
            disk: self.disk.saturating_sub(other.disk),
        }
    }

    /// The smaller of each.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.min(other.vcpus),
            memory: self.memory.min(other.memory),
            disk: self.disk.min(other.disk),
        }
    }

    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.max(other.vcpus),
            memory: self.memory.max(other.memory),
            disk: self.disk.max(other.disk),
        }
    }

    /// Whether none of it is above `limit`.
    #[must_use]
    pub fn within(self, limit: Self) -> bool {
        self.vcpus <= limit.vcpus && self.memory <= limit.memory && self.disk <= limit.disk
    }
}

impl From<&Claim> for Resources {
    fn from(claim: &Claim) -> Self {
        Self {
            vcpus: claim.vcpus.into(),
            memory: bytes(&claim.memory),
            disk: bytes(&claim.disk),
        }
    }
}

impl From<&Capacity> for Resources {
    fn from(capacity: &Capacity) -> Self {
        Self {
            vcpus: capacity.vcpus.into(),
            memory: bytes(&capacity.memory),
            disk: bytes(&capacity.disk),
        }
    }
}
