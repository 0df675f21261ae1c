//! Some measurements of one thing.

use std::time::Duration;

/// At least one duration.
#[derive(Clone, Debug)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// `None` without any.
    pub(crate) fn new(mut all: Vec<Duration>) -> Option<Self> {
        all.sort_unstable();
        (!all.is_empty()).then_some(Self(all))
    }

    /// The one in the middle; of an even number, the later one of the two.
    pub(crate) fn median(&self) -> Duration {
        self.0.get(self.0.len() / 2).copied().unwrap_or_default()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Cells of a table: median, least to most.
    pub(crate) fn cells(&self) -> String {
        let ends = (self.0.first(), self.0.last());
        let (least, most) = (ends.0.copied(), ends.1.copied());
        format!(
            "{} | {} to {}",
            ms(self.median()),
            ms(least.unwrap_or_default()),
            ms(most.unwrap_or_default())
        )
    }

    /// Cells of a table: how its median stands to another's.
    pub(crate) fn against(&self, floor: &Self) -> String {
        let (mine, floor) = (self.median(), floor.median());
        let more = mine.as_secs_f64() - floor.as_secs_f64();
        let times = mine.as_secs_f64() / floor.as_secs_f64();
        format!("{:+.0} ms | {times:.2}", more * 1e3)
    }
}

/// Milliseconds, with a digit behind the point where there are few.
pub(crate) fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{ms:.0} ms")
    }
}
