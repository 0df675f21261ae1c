//! Running blocking calls: each on a thread and a connection of its own, for a bounded time.
//!
//! The threads are not the runtime's, so that one that hangs holds up neither it nor its end.

use crate::Error;
use crate::connection::Connection;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;
use virt::connect::Connect;

/// Calls at once that only ask: they are quick, or libvirtd itself hangs.
const QUERIES: usize = 4;

/// How long a call is waited for, and how many run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For what only asks, and for connecting.
    pub query: Duration,
    /// For what changes a domain at once.
    pub change: Duration,
    /// For what reads or writes a guest's memory: starting (which may restore it) and saving it.
    pub memory: Duration,
    /// Changes at once, hung ones among them; as many threads and connections. libvirtd has 20
    /// workers by default, and some have to stay free for what only asks.
    pub changes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The first question for capabilities makes libvirtd probe QEMU: 4-8 s under emulation.
            query: Duration::from_secs(30),
            change: Duration::from_mins(1),
            memory: Duration::from_mins(10),
            changes: 16,
        }
    }
}

/// One call: what it is, for messages, and what it may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    /// It only asks.
    Query(&'static str),
    /// It changes this domain at once.
    Change(&'static str, Option<Uuid>),
    /// It reads or writes this domain's memory.
    Memory(&'static str, Uuid),
}

impl Call {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Query(name) | Self::Change(name, _) | Self::Memory(name, _) => name,
        }
    }

    fn domain(self) -> Option<Uuid> {
        match self {
            Self::Query(_) => None,
            Self::Change(_, domain) => domain,
            Self::Memory(_, domain) => Some(domain),
        }
    }
}

/// Where calls run.
pub(crate) struct Calls {
    uri: String,
    limits: Limits,
    queries: Arc<Semaphore>,
    changes: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
    busy: Mutex<HashSet<Uuid>>,
}

impl Calls {
    pub(crate) fn new(uri: String, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            uri,
            limits,
            queries: Arc::new(Semaphore::new(QUERIES)),
            changes: Arc::new(Semaphore::new(limits.changes)),
            idle: Mutex::default(),
            busy: Mutex::default(),
        })
    }

    /// Runs a call, and waits for it as long as its kind may take.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        call: Call,
        work: impl FnOnce(&Connect) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (after, lane) = match call {
            Call::Query(_) => (self.limits.query, &self.queries),
            Call::Change(..) => (self.limits.change, &self.changes),
            Call::Memory(..) => (self.limits.memory, &self.changes),
        };
        let deadline = Instant::now() + after;
        let timeout = |_| Error::Timeout {
            call: call.name(),
            after,
        };
        let turn = Turn::take(self, call)?;
        let permit = timeout_at(deadline, Arc::clone(lane).acquire_owned())
            .await
            .map_err(timeout)?;
        let answer = self.start(call, turn, permit.ok(), work)?;
        let answer = timeout_at(deadline, answer).await.map_err(timeout)?;
        answer.unwrap_or_else(|_| {
            let message = "the call panicked".to_owned();
            let call = call.name();
            Err(Error::Unreadable { call, message })
        })
    }

    /// Starts the thread of a call. What `turn` and `permit` stand for is taken until it ends,
    /// however long nobody waits for it any more.
    fn start<T: Send + 'static>(
        self: &Arc<Self>,
        call: Call,
        turn: Turn,
        permit: Option<OwnedSemaphorePermit>,
        work: impl FnOnce(&Connect) -> Result<T, Error> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, Error>>, Error> {
        let (sender, receiver) = oneshot::channel();
        let calls = Arc::clone(self);
        let thread = std::thread::Builder::new().name("libvirt-call".to_owned());
        let started = thread.spawn(move || {
            let result = calls.with_connection(call.name(), work);
            drop((turn, permit));
            if sender.send(result).is_err() {
                tracing::warn!(call = call.name(), "a call came back late");
            }
        });
        match started {
            Ok(_) => Ok(receiver),
            Err(error) => Err(Error::Unreadable {
                call: call.name(),
                message: format!("no thread to call libvirt from: {error}"),
            }),
        }
    }

    fn with_connection<T>(
        &self,
        call: &'static str,
        work: impl FnOnce(&Connect) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let connection = match self.take_idle() {
            Some(connection) => connection,
            None => Connection::open(&self.uri).map_err(|error| Error::dead(call, &error))?,
        };
        let result = work(connection.get());
        if connection.is_alive() {
            self.idle.lock().push(connection);
            return result;
        }
        result.map_err(|error| match error {
            Error::Libvirt { call, message, .. } => Error::Dead { call, message },
            other => other,
        })
    }

    /// A connection that nobody uses. Those that died meanwhile are closed.
    fn take_idle(&self) -> Option<Connection> {
        loop {
            let connection = self.idle.lock().pop()?;
            if connection.is_alive() {
                return Some(connection);
            }
        }
    }
}

/// The right to change a domain, which one call at a time has.
struct Turn {
    calls: Arc<Calls>,
    domain: Option<Uuid>,
}

impl Turn {
    fn take(calls: &Arc<Calls>, call: Call) -> Result<Self, Error> {
        let domain = call.domain();
        if let Some(domain) = domain
            && !calls.busy.lock().insert(domain)
        {
            return Err(Error::Busy { call: call.name() });
        }
        let calls = Arc::clone(calls);
        Ok(Self { calls, domain })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(domain) = &self.domain {
            self.calls.busy.lock().remove(domain);
        }
    }
}
