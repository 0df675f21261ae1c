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

/// The least and the greatest of a weigher's values over the hosts that passed.
#[derive(Clone, Copy)]
pub struct Span {
    least: i64,
    greatest: i64,
}

impl Span {
    /// Of nothing.
    pub const EMPTY: Self = Self {
        least: i64::MAX,
        greatest: i64::MIN,
    };

    /// Takes one more value in.
    #[inline]
    pub fn extend(&mut self, value: i64) {
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
    }

    /// The weigher over that span.
    pub fn scale(self, multiplier: f64) -> Scale {
        let factor = if self.greatest > self.least {
            multiplier / distance(self.greatest, self.least)
        } else {
            0.0
        };
        let least = if factor == 0.0 { 0 } else { self.least };
        Scale { least, factor }
    }
}

/// One weigher: values normalised to 0…1 by their least and greatest, all 0 where they are equal,
/// times the multiplier (Nova's `weights.normalize`).
#[derive(Clone, Copy)]
pub struct Scale {
    least: i64,
    factor: f64,
}

impl Scale {
    /// The weight of that value.
    #[inline]
    pub fn of(self, value: i64) -> f64 {
        distance(value, self.least) * self.factor
    }
}

/// `a` − `b`, at most 2^63 apart as differences of amounts in bytes are.
#[inline]
#[allow(
    clippy::cast_precision_loss,
    reason = "a weight needs no more precision than an f64 has"
)]
fn distance(a: i64, b: i64) -> f64 {
    a.saturating_sub(b) as f64
}
