//! What the controllers know, and what follows from it, apart from the process around it: nothing
//! here asks an API server or waits but [`cache::reflect`], so that all of it can be run through any
//! order of events.
#![allow(
    clippy::must_use_candidate,
    clippy::len_without_is_empty,
    reason = "what the program beside it calls, and the simulation"
)]

pub mod cache;
pub mod health;
pub mod world;
