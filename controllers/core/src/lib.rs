//! What the controllers decide, as pure functions over the objects: no API client, no runtime, no
//! clock, no randomness. Time is an argument; what must be chosen is derived from names and uids.
//!
//! - [`cluster`]: the world in memory: hosts, claims, addresses, as the objects name them. One
//!   `&mut` at a time makes each decision whole.
//! - [`placement`]: filters and weighers; [`host_state`], [`ledger`], [`addresses`], [`macs`]: what
//!   they and the binding stand on.
//! - [`binding`] and [`wait`]: an Instance's binding, or why there is none yet; [`waiting`]: who
//!   waits for what.
//! - [`lifecycle`]: the next action for one Instance and its Domains.
//! - [`compile`]: what a bound Instance, and a Network, are on a node.
//! - [`segments`]: which Network has which segment of a physical network.
//! - [`user_data`]: what of a tenant's Secret is handed to a node.
//! - [`status`], [`images`], [`key_pairs`], [`networks`], [`hypervisors`]: the statuses.

pub mod addresses;
pub mod binding;
pub mod cluster;
pub mod compile;
pub mod conditions;
pub mod host_state;
pub mod hypervisors;
pub mod images;
pub mod key;
pub mod key_pairs;
pub mod ledger;
pub mod lifecycle;
pub mod macs;
pub mod networks;
pub mod placement;
mod resolve;
pub mod resources;
pub mod segments;
pub mod status;
#[cfg(test)]
mod testing;
pub mod user_data;
pub mod wait;
pub mod waiting;
