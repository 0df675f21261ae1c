//! The filters, by name, and the sentence that says how many hosts failed each.

use std::fmt;

/// What a host must pass, in the order in which a host's failure is counted: the first only. Its
/// `Display` is the phrase for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Filter {
    /// Its Lease is fresh.
    Ready,
    /// It is not cordoned.
    Cordoned,
    /// It lacks no program and no feature of the kernel that the Instance needs.
    Needs,
    /// It does not hold too many orphans.
    Orphans,
    /// It did not refuse this Instance.
    Refused,
    /// Every taint is tolerated.
    Taints,
    /// Node selector and required node affinity match.
    NodeAffinity,
    /// The image's architecture.
    Architecture,
    /// The image's virtualization type.
    VirtualizationType,
    /// It has a NIC in the physical networks.
    PhysicalNetwork,
    /// Those NICs carry packets as large as the segments do.
    Mtu,
    /// Required instance affinity.
    InstanceAffinity,
    /// Required instance anti-affinity, either's.
    InstanceAntiAffinity,
    /// Memory.
    Memory,
    /// Virtual CPUs.
    Vcpus,
    /// Disk.
    Disk,
}

impl Filter {
    /// All, in order.
    pub const ALL: [Self; 16] = [
        Self::Ready,
        Self::Cordoned,
        Self::Needs,
        Self::Orphans,
        Self::Refused,
        Self::Taints,
        Self::NodeAffinity,
        Self::Architecture,
        Self::VirtualizationType,
        Self::PhysicalNetwork,
        Self::Mtu,
        Self::InstanceAffinity,
        Self::InstanceAntiAffinity,
        Self::Memory,
        Self::Vcpus,
        Self::Disk,
    ];

    /// The phrase for people: what is wrong with a host that fails it.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Ready => "not ready",
            Self::Cordoned => "cordoned",
            Self::Needs => "lacks what it needs (its conditions say what)",
            Self::Orphans => "too many orphans held",
            Self::Refused => "refused it",
            Self::Taints => "taint not tolerated",
            Self::NodeAffinity => "node selector/affinity does not match",
            Self::Architecture => "other architecture",
            Self::VirtualizationType => "other virtualization type",
            Self::PhysicalNetwork => "physical network missing",
            Self::Mtu => "MTU of the NIC too small",
            Self::InstanceAffinity => "instance affinity",
            Self::InstanceAntiAffinity => "instance anti-affinity",
            Self::Memory => "too little memory",
            Self::Vcpus => "too few vcpus",
            Self::Disk => "too little disk",
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phrase())
    }
}

/// No host passes: how many failed which filter first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoValidHost {
    /// The filters that hosts failed, with how many, most first; equal ones in the filters' order.
    pub counts: Vec<(Filter, u32)>,
}

impl fmt::Display for NoValidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u32 = self.counts.iter().map(|(_, n)| n).sum();
        write!(f, "0/{total} hypervisors: ")?;
        if self.counts.is_empty() {
            return f.write_str("none has registered");
        }
        for (i, (filter, count)) in self.counts.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {filter}")?;
        }
        Ok(())
    }
}

/// Counts the first failures of the hosts.
pub fn count(failures: impl Iterator<Item = Filter>) -> NoValidHost {
    let mut counts = [0u32; Filter::ALL.len()];
    for filter in failures {
        counts[filter as usize] += 1;
    }
    let mut counts: Vec<_> = Filter::ALL
        .into_iter()
        .zip(counts)
        .filter(|(_, n)| *n > 0)
        .collect();
    // Stable: equal counts stay in the filters' order.
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    NoValidHost { counts }
}
