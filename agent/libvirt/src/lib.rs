//! libvirt, as the agent uses it. The only crate that names `virt`.
//!
//! Each call is a blocking one of libvirt's, on a thread and a connection of its own, with a bound
//! on how long it is waited for and on how many run at once. A call that hangs costs its own
//! domain and no other. Nothing here decides what is to be done.

mod calls;
mod capabilities;
mod client;
mod connection;
mod error;
mod events;
mod observe;
mod probe;

pub use calls::Limits;
pub use client::Libvirt;
pub use error::Error;
pub use events::{Event, EventKind, Events, StopReason};
