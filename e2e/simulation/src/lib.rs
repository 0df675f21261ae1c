//! The laws under every order of events: the product's pure cores (placement, claims, lifecycle and
//! status of the controllers, their picture of the world; plan, power and report of the agents)
//! run against an API server and machines that are values, in one thread, in an order that a seed
//! decides.
//!
//! A [`schedule`] has people ([`story`]), one to three [`leader`]s of which at most one still holds
//! the Lease, an [`agent`] and a machine ([`node`]) for each of two or three nodes, and an [`api`]
//! whose answers are lost, whose watches lag, repeat themselves and list anew. Each request of a
//! leader and each step of an agent is an act of its own, between which any other may come; after
//! each the [`laws`] are looked at. Then the faults end, and everything must come to [`rest`], as
//! it was declared.
//!
//! Nothing here decides anything for the product: the looks of `leader` and the passes of `agent`
//! are its loops around the cores, told again without a runtime.

pub mod agent;
pub mod api;
pub mod clock;
pub mod evidence;
pub mod laws;
pub mod leader;
pub mod node;
pub mod random;
mod rest;
pub mod scene;
pub mod schedule;
pub mod story;

pub use evidence::Mark;
pub use schedule::{Broken, Schedule, Told};

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Runs the schedules of these seeds on so many threads. Gives those that broke a law: all, where
/// it is to keep going, else the first that were found.
#[must_use]
pub fn run(seeds: &Range<u64>, threads: u64, keep_going: bool) -> Vec<Broken> {
    let ends = AtomicBool::new(false);
    let threads = threads.max(1);
    let run_some = |first: u64| {
        let step = usize::try_from(threads).unwrap_or(1);
        let mut broken = Vec::new();
        for seed in (seeds.start + first..seeds.end).step_by(step) {
            if ends.load(Ordering::Relaxed) {
                break;
            }
            if let Err(law) = Schedule::new(seed, false).run() {
                ends.store(!keep_going, Ordering::Relaxed);
                broken.push(law);
            }
        }
        broken
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || run_some(first)))
            .collect();
        let ended = running.into_iter().map(thread::ScopedJoinHandle::join);
        let broken =
            ended.map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let mut broken: Vec<Broken> = broken.flatten().collect();
        broken.sort_by_key(|broken| broken.seed);
        broken
    })
}
