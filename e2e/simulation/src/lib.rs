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

pub use schedule::{Broken, Schedule};

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Runs the schedules of these seeds on so many threads, and gives the failure of the lowest seed
/// that was found.
///
/// # Errors
/// A law that does not hold, with the seed that shows it.
pub fn run(seeds: &Range<u64>, threads: u64) -> Result<(), Broken> {
    let failed = AtomicBool::new(false);
    let threads = threads.max(1);
    let run_some = |first: u64| -> Result<(), Broken> {
        let step = usize::try_from(threads).unwrap_or(1);
        for seed in (seeds.start + first..seeds.end).step_by(step) {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            Schedule::new(seed, false).run().inspect_err(|_| {
                failed.store(true, Ordering::Relaxed);
            })?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || run_some(first)))
            .collect();
        let ended = running.into_iter().map(thread::ScopedJoinHandle::join);
        let broken = ended.filter_map(|ended| match ended {
            Ok(result) => result.err(),
            Err(panic) => std::panic::resume_unwind(panic),
        });
        broken.min_by_key(|broken| broken.seed).map_or(Ok(()), Err)
    })
}
