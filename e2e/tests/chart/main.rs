//! The charts under the real Helm, against a real API server: what is refused, what is installed, what stays.
//! Nothing runs here: there is no kubelet.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]

mod access;
mod guards;
mod install;
mod offline;
mod world;
