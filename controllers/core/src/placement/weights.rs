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

/// One weigher over the hosts that passed: values normalised to 0…1 by their least and greatest,
/// all 0 where they are equal, times the multiplier (Nova's `weights.normalize`).
pub struct Scale {
    least: i64,
    factor: f64,
}

impl Scale {
    pub fn new(multiplier: f64, passed: &[usize], value: impl Fn(usize) -> i64) -> Self {
        let mut least = i64::MAX;
        let mut greatest = i64::MIN;
        if multiplier != 0.0 {
            for slot in passed {
                let value = value(*slot);
                least = least.min(value);
                greatest = greatest.max(value);
            }
        }
        let factor = if greatest > least {
            multiplier / distance(greatest, least)
        } else {
            0.0
        };
        Self { least, factor }
    }

    /// The weight of that value.
    #[inline]
    pub fn of(&self, value: i64) -> f64 {
        if self.factor == 0.0 {
            return 0.0;
        }
        distance(value, self.least) * self.factor
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a weight needs no more precision than an f64 has"
)]
fn distance(a: i64, b: i64) -> f64 {
    a as f64 - b as f64
}
