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
mod play;
mod stage;
mod twice;

use std::{path::Path, process::Command};

use kilonova_e2e::build::programs::{program, program_with_failpoints};

#[test]
fn the_product_has_no_failpoints() {
    for name in ["kilonova-agent", "kilonova-controllers"] {
        assert!(knows_of_failpoints(&program_with_failpoints(name).unwrap()));
        assert!(!knows_of_failpoints(&program(name).unwrap()), "{name}");
    }
}

/// Whether a program looks for what a test arms.
fn knows_of_failpoints(program: &Path) -> bool {
    let found = Command::new("grep")
        .arg("-qF")
        .arg("KILONOVA_FAILPOINTS")
        .arg(program)
        .status();
    match found.unwrap().code() {
        Some(0) => true,
        Some(1) => false,
        other => panic!("grep: {other:?}"),
    }
}
