//! A connection for events, made anew when it is lost. On a thread of its own, because each of
//! its calls may block.

use super::callbacks::{Notice, Sink, Subscription};
use super::{Event, Events};
use crate::Error;
use crate::connection::Connection;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;
use tokio::sync::{broadcast, oneshot};

/// Events that are kept for a slow reader; beyond that it is told to observe everything.
const BACKLOG: usize = 4096;
/// First and longest pause between two tries to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long after its start libvirtd may still list a dead domain as running.
const SETTLE: Duration = Duration::from_secs(2);
/// How often a connection is looked at whose close callback did not come.
const LOOK: Duration = Duration::from_secs(5);

/// What the thread waits for.
enum Signal {
    Closed,
    Stop,
}

/// Listens until it is dropped.
pub(crate) struct Listener {
    events: broadcast::Sender<Event>,
    signals: Sender<Signal>,
}

impl Listener {
    /// Connects, for at most `after`, and listens.
    pub(crate) async fn start(uri: &str, after: Duration) -> Result<Self, Error> {
        let (events, _) = broadcast::channel(BACKLOG);
        let (signals, inbox) = mpsc::channel();
        let (ready, connected) = oneshot::channel();
        let thread = Thread {
            uri: uri.to_owned(),
            // The thread and libvirt's callbacks have no handle that keeps the channel open.
            events: events.downgrade(),
            signals: signals.clone(),
            inbox,
        };
        let builder = std::thread::Builder::new().name("libvirt-listener".to_owned());
        let call = "connect";
        builder
            .spawn(move || thread.run(ready))
            .map_err(|error| Error::Unreadable {
                call,
                message: format!("no thread to listen on: {error}"),
            })?;
        let listener = Self { events, signals };
        match tokio::time::timeout(after, connected).await {
            Err(_) => Err(Error::Timeout { call, after }),
            Ok(Ok(Ok(()))) => Ok(listener),
            Ok(Ok(Err(error))) => Err(Error::dead(call, &error)),
            Ok(Err(_)) => Err(Error::Unreadable {
                call,
                message: "the listener panicked".to_owned(),
            }),
        }
    }

    pub(crate) fn events(&self) -> Events {
        Events::new(self.events.subscribe())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The thread may have ended; then there is nothing to stop.
        let _ = self.signals.send(Signal::Stop);
    }
}

struct Thread {
    uri: String,
    events: broadcast::WeakSender<Event>,
    signals: Sender<Signal>,
    inbox: Receiver<Signal>,
}

impl Thread {
    fn run(self, ready: oneshot::Sender<Result<(), virt::error::Error>>) {
        let mut subscription = match self.subscribe() {
            Ok(subscription) => subscription,
            Err(error) => {
                // Whoever asked may have given up.
                let _ = ready.send(Err(error));
                return;
            }
        };
        if ready.send(Ok(())).is_err() {
            return;
        }
        loop {
            match self.inbox.recv_timeout(LOOK) {
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if subscription.is_alive() => {}
                Err(RecvTimeoutError::Timeout) | Ok(Signal::Closed) => {
                    tracing::warn!(uri = self.uri, "the connection to libvirt is lost");
                    self.tell(Event::Disconnected);
                    drop(subscription);
                    let Some(new) = self.reconnect() else { return };
                    subscription = new;
                    tracing::info!(uri = self.uri, "connected to libvirt again");
                    self.tell(Event::Reconnected);
                    if self.pause(SETTLE).is_none() {
                        return;
                    }
                    self.tell(Event::Reconnected);
                }
            }
        }
    }

    /// Tries until it can; `None` when it is to stop.
    fn reconnect(&self) -> Option<Subscription> {
        let (mut pause, longest) = BACKOFF;
        loop {
            self.pause(pause)?;
            match self.subscribe() {
                Ok(subscription) => return Some(subscription),
                Err(error) => tracing::debug!(uri = self.uri, %error, "connect to libvirt"),
            }
            pause = longest.min(pause * 2);
        }
    }

    /// Waits; `None` when it is to stop. That a connection closed meanwhile is either about the
    /// old one, or found out by looking.
    fn pause(&self, pause: Duration) -> Option<()> {
        let end = std::time::Instant::now() + pause;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            match self.inbox.recv_timeout(left) {
                Err(RecvTimeoutError::Timeout) => return Some(()),
                Ok(Signal::Closed) => {}
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn subscribe(&self) -> Result<Subscription, virt::error::Error> {
        Subscription::new(Connection::open(&self.uri)?, || self.sink())
    }

    fn sink(&self) -> Sink {
        let (events, signals) = (self.events.clone(), self.signals.clone());
        Box::new(move |notice| match notice {
            Notice::Event(event) => send(&events, event),
            // The thread may have ended.
            Notice::Closed => drop(signals.send(Signal::Closed)),
        })
    }

    fn tell(&self, event: Event) {
        send(&self.events, event);
    }
}

/// Sends to all who listen, if any.
fn send(events: &broadcast::WeakSender<Event>, event: Event) {
    if let Some(events) = events.upgrade() {
        let _ = events.send(event);
    }
}
