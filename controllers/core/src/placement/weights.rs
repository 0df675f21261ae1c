//! The weighers' multipliers.

/// How much each weigher counts; negative turns it round (stacking instead of spreading). The
/// defaults are Nova's: `ram_weight_multiplier`, `cpu_weight_multiplier` and
/// `disk_weight_multiplier` 1.0, `num_instances_weight_multiplier` 0.0,
/// `soft_affinity_weight_multiplier` 1.0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// Free memory.
    pub ram: f64,
    /// Free virtual CPUs.
    pub cpu: f64,
    /// Free disk.
    pub disk: f64,
    /// Number of instances there.
    pub instances: f64,
    /// Preferred node affinity, and preferred instance affinity less preferred anti-affinity.
    pub affinity: f64,
    /// Taints with effect `PreferNoSchedule` that are not tolerated, fewest first.
    pub taints: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            ram: 1.0,
            cpu: 1.0,
            disk: 1.0,
            instances: 0.0,
            affinity: 1.0,
            taints: 1.0,
        }
    }
}
