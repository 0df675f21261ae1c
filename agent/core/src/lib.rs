//! The agent's decisions, as pure functions: what a node should have and has in, steps out.
//!
//! Nothing here runs, reads a clock, or knows libvirt, netlink, files or Kubernetes' client.

pub mod backoff;
pub mod definition;
pub mod desired;
pub mod guest;
pub mod hypervisor;
pub mod needs;
pub mod network;
pub mod observed;
pub mod owner;
pub mod plan;
pub mod ports;
pub mod power;
pub mod record;
pub mod report;
pub mod steps;
pub mod xml;

pub use kilonova_crds::node::reason;
