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

/// What hosts are weighed by, side by side: they are worked out together.
pub type Figures<const N: usize> = [f64; N];

/// Free memory, virtual CPUs and disk, and the number of instances: the figures of room.
pub const ROOM: usize = 4;

/// Figures as weights need them.
#[allow(
    clippy::cast_precision_loss,
    reason = "a weight needs no more precision than an f64 has"
)]
pub fn figures<const N: usize>(values: [i64; N]) -> Figures<N> {
    values.map(|value| value as f64)
}

/// The weighers of some figures: each normalised to 0…1 by its least and greatest over the hosts
/// that passed, all 0 where they are equal, times its multiplier (Nova's `weights.normalize`).
#[derive(Clone, Copy)]
pub struct Scales<const N: usize> {
    least: Figures<N>,
    factors: Figures<N>,
}

impl<const N: usize> Scales<N> {
    /// The weighers with those multipliers over those hosts' figures.
    pub fn new(multipliers: Figures<N>, hosts: impl Iterator<Item = Figures<N>>) -> Self {
        let mut least = [f64::INFINITY; N];
        let mut greatest = [f64::NEG_INFINITY; N];
        for figures in hosts {
            for n in 0..N {
                least[n] = least[n].min(figures[n]);
                greatest[n] = greatest[n].max(figures[n]);
            }
        }
        let mut factors = [0.0; N];
        for n in 0..N {
            if greatest[n] > least[n] {
                factors[n] = multipliers[n] / (greatest[n] - least[n]);
            } else {
                least[n] = 0.0;
            }
        }
        Self { least, factors }
    }

    /// The weight of a host with those figures.
    #[inline]
    pub fn weight(&self, figures: Figures<N>) -> f64 {
        let scales = self.least.iter().zip(&self.factors);
        let weights = figures.iter().zip(scales).map(|(x, (l, f))| (x - l) * f);
        weights.sum()
    }
}
