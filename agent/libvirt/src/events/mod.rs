//! What libvirt tells without being asked.
//!
//! - [`callbacks`] is the one place with `unsafe`: libvirt's callbacks, turned into [`Event`]s.
//! - [`listener`] keeps a connection for them, and makes it anew when it is lost.

mod callbacks;
mod listener;

pub(crate) use callbacks::run_loop;
pub(crate) use listener::Listener;

use tokio::sync::broadcast;

/// Something happened to a libvirt domain, or to the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something happened to a domain.
    Domain {
        /// Its UUID, in lower case with dashes.
        uuid: String,
        /// What.
        kind: EventKind,
    },
    /// Events may have been missed (the connection was made anew, or the reader was too slow):
    /// everything has to be observed again. It comes first of all, and twice after a connection
    /// was lost, because right after its start libvirtd may list a domain as running whose QEMU
    /// is gone.
    Reconnected,
    /// The connection is gone, and being made anew.
    Disconnected,
}

/// What happened to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was defined, or its definition changed.
    Defined,
    /// It was undefined.
    Undefined,
    /// It was started, or restored.
    Started,
    /// Its CPUs run again.
    Resumed,
    /// Its CPUs were halted.
    Paused {
        /// Because a write to a disk failed.
        io_error: bool,
    },
    /// The guest shut down; QEMU ends in a moment.
    ShuttingDown,
    /// It stopped.
    Stopped {
        /// Why.
        reason: StopReason,
    },
    /// The guest rebooted. libvirt may say so twice.
    Rebooted,
    /// A read or a write of a disk failed.
    IoError,
    /// Anything else, as a guest that suspended itself.
    Other,
}

/// Why a domain stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The guest shut itself down.
    Shutdown,
    /// Its power was cut through libvirt.
    Destroyed,
    /// The guest panicked, or QEMU ended by a fault.
    Crashed,
    /// QEMU failed, or was killed.
    Failed,
    /// Its memory was saved.
    Saved,
    /// Any other.
    Other,
}

/// The events from the moment it was made.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    begun: bool,
}

impl Events {
    pub(crate) fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self {
            receiver,
            begun: false,
        }
    }

    /// The next event; waits for it. `None` once the connection's last handle is gone.
    ///
    /// Its future can be dropped at any time without losing an event.
    pub async fn next(&mut self) -> Option<Event> {
        if !self.begun {
            self.begun = true;
            return Some(Event::Reconnected);
        }
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Event::Reconnected),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
