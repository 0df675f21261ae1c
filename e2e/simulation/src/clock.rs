//! The time of the schedule that this thread runs: it stands still until it is moved.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kilonova_controllers::world::Now;
use std::cell::Cell;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::time::Instant;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

thread_local! {
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Time since the schedule began.
#[must_use]
pub fn passed() -> Duration {
    PASSED.get()
}

/// A new schedule begins.
pub fn begin() {
    PASSED.set(Duration::ZERO);
}

/// Time passes.
pub fn advance(time: Duration) {
    PASSED.set(PASSED.get() + time);
}

/// The clock that only goes forward.
#[must_use]
pub fn steady() -> Instant {
    *START + PASSED.get()
}

/// The clock that people read.
#[must_use]
pub fn wall() -> Timestamp {
    let passed = SignedDuration::try_from(PASSED.get()).unwrap_or(SignedDuration::MAX);
    Timestamp::UNIX_EPOCH
        .saturating_add(passed)
        .unwrap_or(Timestamp::MAX)
}

/// Both.
#[must_use]
pub fn now() -> Now {
    Now {
        wall: wall(),
        steady: steady(),
    }
}
