//! Processes of a lab: commands that end, and services that run on.
//!
//! Everything of a lab lives in its process-id namespace, entered by `nsenter`, so that whatever becomes of us, the
//! end of that namespace is the end of all of it. A process is known here by its id as the machine sees it, and by
//! its start time, so that an id that was given to another process in between is never signalled.

mod command;
mod identity;
mod launch;
mod namespaces;
mod service;

pub use command::{Output, run, run_for};
pub use identity::ProcessId;
pub use launch::Launch;
pub use namespaces::Namespaces;
pub use service::{Frozen, Service};
