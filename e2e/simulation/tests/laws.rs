//! Some schedules: `make bench` runs a million, optimised. A seed that fails is printed, and told again by
//! `cargo run -p kilonova-simulation -- --seed N`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kilonova_simulation::{Mark, Schedule, run};
use std::collections::BTreeSet;
use std::thread::{available_parallelism, spawn};

/// Schedules of a test.
const SEEDS: u64 = 3000;
/// Schedules that go every way together.
const WAYS: u64 = 600;
/// Schedules that are run twice.
const TWICE: u64 = 20;

#[test]
fn every_law_holds_under_every_order_of_events() {
    let threads = available_parallelism().map_or(1, |n| u64::try_from(n.get()).unwrap());
    let broken = run(&(0..SEEDS), threads, false);
    assert!(broken.is_empty(), "{}", broken[0]);
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    for seed in 0..TWICE {
        // Maps of the standard library have another order in each thread.
        let [first, second] = [(); 2].map(|()| spawn(move || Schedule::new(seed, false).run()));
        assert_eq!(first.join().unwrap(), second.join().unwrap(), "seed {seed}");
    }
}

#[test]
fn the_schedules_go_every_way() {
    let mut seen = BTreeSet::new();
    for seed in 0..WAYS {
        seen.extend(Schedule::new(seed, false).run().unwrap().marks);
        if seen.len() == Mark::ALL.len() {
            return;
        }
    }
    assert_eq!(seen, BTreeSet::from(Mark::ALL));
}
