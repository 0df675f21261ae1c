//! One connection to libvirtd.

use crate::events;
use virt::connect::Connect;

/// Seconds between two keepalive messages.
const KEEPALIVE_SECONDS: i32 = 5;
/// Unanswered ones after which the connection is closed, and every call on it ends.
const KEEPALIVE_COUNT: u32 = 4;

/// A connection that is closed when dropped.
pub(crate) struct Connection(Connect);

impl Connection {
    /// Connects. Blocks, for as long as libvirtd accepts and does not answer.
    pub(crate) fn open(uri: &str) -> Result<Self, virt::error::Error> {
        // Keepalive and the notice of a lost connection need the event loop.
        events::run_loop()?;
        let connection = Self(Connect::open(Some(uri))?);
        // The drivers that live in this process, as `test`, know no keepalive.
        if let Err(error) = connection
            .0
            .set_keep_alive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
        {
            tracing::debug!(%uri, %error, "no keepalive");
        }
        Ok(connection)
    }

    pub(crate) fn get(&self) -> &Connect {
        &self.0
    }

    /// Whether it is still of use. Asks nobody: libvirt's client notices a lost peer by itself.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.is_alive().unwrap_or(false)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Err(error) = self.0.close() {
            tracing::debug!(%error, "close a connection to libvirt");
        }
    }
}
