//! Which event is the same as one before, and when its count is written: pure, time is an argument.
//!
//! After a count was written, the next one waits as many seconds as it is high, at most a minute:
//! a few repeats are told at once, and what flaps is told of rarely, but to the end.

use super::story::Told;
use k8s_openapi::jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long the same event again counts as the same.
const SAME_WITHIN: Duration = Duration::from_mins(10);
/// Longest time between a repeat and its being written.
const HELD_MAX: Duration = Duration::from_mins(1);
/// Events remembered before old ones are forgotten.
const REMEMBERED: usize = 8192;

/// An event of an object, by the object's uid.
pub type Key = (String, Told);

/// What there is to write when something happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Happened {
    /// An event that is not known.
    First,
    /// A repeat; its count is due in time.
    Again,
}

/// A count to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Namespace of the event.
    pub namespace: String,
    /// Name of the event.
    pub name: String,
    /// How often it happened.
    pub times: i32,
    /// When it happened last.
    pub last: Timestamp,
}

/// Events that were told lately.
#[derive(Debug, Default)]
pub struct Repeats {
    known: HashMap<Key, Known>,
    held: HashSet<Key>,
}

#[derive(Debug)]
struct Known {
    event: Count,
    first: Instant,
    /// The next count is written then.
    next: Instant,
}

/// How long after that count the next one is written.
fn pause(times: i32) -> Duration {
    Duration::from_secs(times.unsigned_abs().into()).min(HELD_MAX)
}

impl Repeats {
    /// Something happened.
    pub fn happened(&mut self, key: &Key, now: Instant, at: Timestamp) -> Happened {
        match self.known.get_mut(key) {
            Some(known) if now < known.first + SAME_WITHIN => {
                known.event.times += 1;
                known.event.last = at;
                self.held.insert(key.clone());
                Happened::Again
            }
            _ => Happened::First,
        }
    }

    /// The event was written, under that name.
    pub fn told(&mut self, key: Key, namespace: String, name: String, now: Instant, at: Timestamp) {
        if self.known.len() >= REMEMBERED {
            self.known
                .retain(|_, known| now < known.first + SAME_WITHIN);
            self.held.retain(|key| self.known.contains_key(key));
        }
        let event = Count {
            namespace,
            name,
            times: 1,
            last: at,
        };
        let known = Known {
            event,
            first: now,
            next: now + pause(1),
        };
        self.held.remove(&key);
        self.known.insert(key, known);
    }

    /// Whether any count waits to be written.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes the counts that are to be written now.
    pub fn due(&mut self, now: Instant) -> Vec<Count> {
        let mut due = Vec::new();
        self.held.retain(|key| {
            let Some(known) = self.known.get_mut(key) else {
                return false;
            };
            if now < known.next {
                return true;
            }
            known.next = now + pause(known.event.times);
            due.push(known.event.clone());
            false
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        let told = Told {
            warning: false,
            reason: "Started".to_owned(),
            note: "the domain runs".to_owned(),
            action: "Running",
        };
        ("uid".to_owned(), told)
    }

    #[test]
    fn the_last_repeat_is_told_though_nothing_happens_after_it() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let at = |second| Timestamp::UNIX_EPOCH + Duration::from_secs(second);
        let mut repeats = Repeats::default();
        assert_eq!(repeats.happened(&key(), start, at(0)), Happened::First);
        repeats.told(key(), "ns".to_owned(), "n".to_owned(), start, at(0));
        assert!(!repeats.holds());
        assert_eq!(repeats.happened(&key(), start, at(0)), Happened::Again);
        assert!(repeats.due(start).is_empty() && repeats.holds());
        assert_eq!(repeats.happened(&key(), after(1), at(1)), Happened::Again);
        let count = Count {
            namespace: "ns".to_owned(),
            name: "n".to_owned(),
            times: 3,
            last: at(1),
        };
        assert_eq!(repeats.due(after(1)), [count]);
        assert!(!repeats.holds() && repeats.due(after(99)).is_empty());
        assert_eq!(repeats.happened(&key(), after(2), at(2)), Happened::Again);
        assert!(repeats.due(after(3)).is_empty());
        assert_eq!(repeats.due(after(4))[0].times, 4);
    }

    #[test]
    fn what_flaps_is_told_of_once_a_minute_and_anew_after_a_while() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        let at = Timestamp::UNIX_EPOCH;
        repeats.told(key(), "ns".to_owned(), "n".to_owned(), start, at);
        let mut writes = 0;
        for second in 1..600 {
            let now = start + Duration::from_secs(second);
            assert_eq!(repeats.happened(&key(), now, at), Happened::Again);
            writes += repeats.due(now).len();
        }
        assert!((10..=17).contains(&writes), "{writes}");
        let later = start + SAME_WITHIN;
        assert_eq!(repeats.happened(&key(), later, at), Happened::First);
    }
}
