//! How long to wait before a thing is tried again. Time is an argument: a duration since any
//! fixed moment.

use std::time::Duration;

/// Three quarters of a pause to the whole of it, as `seed` has it.
#[must_use]
pub fn jittered(pause: Duration, seed: u64) -> Duration {
    /// Steps between the shortest and the longest.
    const STEPS: u32 = 1 << 10;
    // Below STEPS, so it fits.
    let step = u32::try_from(seed % u64::from(STEPS)).unwrap_or_default();
    pause * 3 / 4 + pause / 4 * step / STEPS
}

/// Waits that double from `first` to `longest`, and begin anew after `calm` without trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    calm: Duration,
    /// Restarts or failures since it was last calm.
    count: u32,
    /// When the thing may be tried again.
    not_before: Duration,
    /// When it was last tried.
    last_try: Option<Duration>,
}

impl Backoff {
    /// For guests that stop again and again: the first restart at once, then 10 s doubling to
    /// 5 min, forgotten after 10 min of running; the kubelet's numbers for containers.
    #[must_use]
    pub const fn restarts() -> Self {
        Self::new(
            Duration::from_secs(10),
            Duration::from_mins(5),
            Duration::from_mins(10),
        )
    }

    /// For steps that fail: 1 s doubling to 1 min.
    #[must_use]
    pub const fn failures() -> Self {
        Self::new(
            Duration::from_secs(1),
            Duration::from_mins(1),
            Duration::from_mins(10),
        )
    }

    const fn new(first: Duration, longest: Duration, calm: Duration) -> Self {
        Self {
            first,
            longest,
            calm,
            count: 0,
            not_before: Duration::ZERO,
            last_try: None,
        }
    }

    /// How long it must still wait; `None` when it may be tried now.
    #[must_use]
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        self.not_before
            .checked_sub(now)
            .filter(|rest| !rest.is_zero())
    }

    /// It is tried now: the next try must wait, twice as long as the last time.
    pub fn tried(&mut self, now: Duration) {
        let rested = |last: Duration| now.saturating_sub(last.max(self.not_before)) >= self.calm;
        if self.last_try.is_some_and(rested) {
            self.count = 0;
        }
        let doubled = self.first.saturating_mul(1 << self.count.min(16));
        self.not_before = now.saturating_add(doubled.min(self.longest));
        self.last_try = Some(now);
        self.count = self.count.saturating_add(1);
    }

    /// It went well, or something else is asked for: nothing is held against it.
    pub fn reset(&mut self) {
        *self = Self::new(self.first, self.longest, self.calm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_are_spread_and_never_longer() {
        let pause = Duration::from_secs(8);
        let spread: Vec<_> = (0..2048).map(|seed| jittered(pause, seed)).collect();
        let (least, most) = (Duration::from_secs(6), Duration::from_secs(8));
        assert!(spread.iter().all(|p| (least..most).contains(p)));
        assert!(spread.iter().any(|p| *p < Duration::from_millis(6100)));
        assert!(spread.iter().any(|p| *p > Duration::from_millis(7900)));
    }

    #[test]
    fn the_first_restart_is_at_once_and_the_next_wait_longer() {
        let mut backoff = Backoff::restarts();
        let mut now = s(1000);
        assert_eq!(backoff.wait(now), None);
        for wait in [10, 20, 40, 80, 160, 300, 300, 300] {
            backoff.tried(now);
            assert_eq!(backoff.wait(now), Some(s(wait)));
            assert_eq!(backoff.wait(now + s(wait)), None);
            now += s(wait);
        }
    }

    #[test]
    fn ten_calm_minutes_are_forgiven() {
        let mut backoff = Backoff::restarts();
        backoff.tried(s(0));
        backoff.tried(s(10));
        backoff.tried(s(30 + 599));
        assert_eq!(backoff.wait(s(629)), Some(s(40)));
        backoff.tried(s(669 + 600));
        assert_eq!(backoff.wait(s(1269)), Some(s(10)));
    }

    #[test]
    fn reset_forgets() {
        let mut backoff = Backoff::failures();
        backoff.tried(s(5));
        backoff.reset();
        assert_eq!(backoff, Backoff::failures());
    }
}
