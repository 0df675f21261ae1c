//! libvirt, as the agent uses it. The only crate that names `virt`.
//!
//! Every call is a blocking one of libvirt's, run on a thread for such calls, with a bound on how
//! long it is waited for and on how many run at once. A call that hangs costs its own domain: the
//! others have connections of their own. Nothing here decides what is to be done.

mod client;
mod error;
mod event;

pub use client::{Libvirt, Limits};
pub use error::Error;
pub use event::{Event, EventKind, Events, StopReason};
