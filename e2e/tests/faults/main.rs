//! The agent and the controllers die before and after everything that they do, once each and two in a row; they are
//! started again, and the law holds: see `lawful`, and what is on the node before and after. Both programs are built
//! with failpoints (`make failpoints`). The list of points comes from the programs: one without a way to it fails here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]

mod agent;
mod controllers;
mod download;
mod stage;
mod twice;
