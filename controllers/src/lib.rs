//! What the controllers know, and what follows from it, apart from the process around it: nothing
//! here asks an API server or waits, so that all of it can be run through any order of events.

pub mod cache;
pub mod health;
pub mod world;
