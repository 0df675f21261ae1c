//! The way of an Instance through the controllers, on a real API server with the chart's own roles
//! and policies, before hollow agents.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]

mod hollow;
mod images;
mod lab;
mod leading;
mod life;
mod lost;
mod segments;
mod user_data;
mod waiting;
