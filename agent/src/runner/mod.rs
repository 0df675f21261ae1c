//! A task for each instance: steps are in order within one, and concurrent between them.
//!
//! A task sleeps until its instance is woken: by a watch, by libvirt's events, by the periodic
//! look at everything, or by a time that it asked for itself. It ends when nothing of its
//! instance is left, here and in the API.

mod execute;
mod observe;
mod pass;
mod segments;
mod tending;
mod trouble;

use observe::Snapshot;
pub use observe::kernel_release;
pub use segments::SegmentHolders;
use tending::Tending;

use crate::api::{NodeApi, Writer};
use crate::metrics::Metrics;
use crate::world::World;
use kilonova_agent_core::backoff::Backoff;
use kilonova_agent_core::desired::NodeSettings;
use kilonova_agent_libvirt::Libvirt;
use kilonova_agent_network::Network;
use kilonova_agent_storage::Storage;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, watch};

/// What every task works with.
pub struct Parts {
    /// What all domains of this node have in common.
    pub settings: NodeSettings,
    /// libvirt.
    pub libvirt: Libvirt,
    /// Images, disks, records.
    pub storage: Storage,
    /// Segments and ports.
    pub network: Arc<Network>,
    /// Reads of the node namespace.
    pub api: NodeApi,
    /// Writes.
    pub writer: Writer,
    /// What the API server last said.
    pub world: Arc<World>,
    /// Who holds which Segment.
    pub holders: SegmentHolders,
    /// Downloads at once.
    pub downloads: Semaphore,
    /// Starts at once.
    pub starts: Semaphore,
    /// Metrics.
    pub metrics: Metrics,
}

/// The tasks.
pub struct Runner {
    parts: Parts,
    tasks: Mutex<HashMap<String, Arc<Bell>>>,
    began: Instant,
    census: Notify,
    look: Notify,
    /// UUIDs of the orphans that the last report named.
    orphans: Mutex<BTreeSet<String>>,
    tending: Tending,
    /// Open once what is forfeited has no network here any more.
    gate: watch::Sender<bool>,
}

/// Wakes one task.
#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<Rung>,
    notify: Notify,
}

/// Why a task was woken.
#[derive(Clone, Debug, Default)]
enum Rung {
    /// It was not.
    #[default]
    Not,
    /// All are looked at, and this is what there was.
    WithAll(Arc<Snapshot>),
    /// Something of its own may have changed.
    Alone,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock() = Rung::Alone;
        self.notify.notify_one();
    }

    fn ring_with(&self, snapshot: &Arc<Snapshot>) {
        let mut rung = self.rung.lock();
        if !matches!(*rung, Rung::Alone) {
            *rung = Rung::WithAll(Arc::clone(snapshot));
        }
        self.notify.notify_one();
    }

    /// What of a look at everything can be used.
    fn take(&self) -> Option<Arc<Snapshot>> {
        match std::mem::take(&mut *self.rung.lock()) {
            Rung::WithAll(snapshot) => Some(snapshot),
            Rung::Not | Rung::Alone => None,
        }
    }
}

/// What a task remembers of its instance between passes; nothing that could not be lost.
struct Memory {
    restarts: Backoff,
    failures: Backoff,
    /// Since when it waits for a Segment.
    waits_since: Option<Instant>,
    /// Whether people were told last that a step failed.
    told_failure: bool,
    /// Passes in a row that did something.
    busy: u32,
    /// When it last did something: what was seen before is old.
    acted: Instant,
}

/// When a task looks at its instance again.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// At once.
    Now,
    /// When it is woken.
    Woken,
    /// When it is woken, and after this time.
    After(Duration),
    /// Never: nothing of it is left.
    Gone,
}

impl Runner {
    /// No task yet.
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            tasks: Mutex::default(),
            began: Instant::now(),
            census: Notify::new(),
            look: Notify::new(),
            orphans: Mutex::default(),
            tending: Tending::default(),
            gate: watch::Sender::new(false),
        })
    }

    /// What the tasks work with.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Something of that instance may have changed. Nothing is looked at before the API server
    /// was asked what should be here.
    pub fn wake(self: &Arc<Self>, uuid: &str) {
        self.ring(uuid, Bell::ring);
    }

    fn ring(self: &Arc<Self>, uuid: &str, ring: impl FnOnce(&Bell)) {
        if !self.parts.world.listed() {
            return;
        }
        let mut tasks = self.tasks.lock();
        if let Some(bell) = tasks.get(uuid) {
            ring(bell);
            return;
        }
        let bell = Arc::new(Bell::default());
        ring(&bell);
        tasks.insert(uuid.to_owned(), Arc::clone(&bell));
        self.parts.metrics.instances.inc();
        tokio::spawn(Arc::clone(self).live(uuid.to_owned(), bell));
    }

    /// Wakes every instance that is, or should be, here.
    ///
    /// # Errors
    /// When the node cannot be asked what is here; those that should be are woken all the same.
    pub async fn wake_all(self: &Arc<Self>) -> Result<(), observe::ObserveError> {
        let mut uuids = self.parts.world.uuids();
        uuids.extend(self.tasks.lock().keys().cloned());
        let snapshot = match self.snapshot().await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                for uuid in &uuids {
                    self.wake(uuid);
                }
                return Err(error);
            }
        };
        uuids.extend(self.here(&snapshot));
        for uuid in &uuids {
            self.ring(uuid, |bell| bell.ring_with(&snapshot));
        }
        let files: Vec<_> = snapshot.files.values().cloned().collect();
        self.tend_all(&snapshot.network, &files);
        self.sweep(&snapshot.network).await
    }

    /// Takes the network from what is forfeited, then lets all others begin: its addresses may be
    /// theirs by now.
    pub async fn open_gate(&self) {
        self.cut_off_forfeited().await;
        self.gate.send_replace(true);
    }

    /// Anything may have changed: everything is to be looked at, soon.
    pub fn look(&self) {
        self.look.notify_one();
    }

    /// Waits until everything is to be looked at.
    pub async fn look_due(&self) {
        self.look.notified().await;
    }

    /// What the node reports of itself may have changed.
    pub fn census(&self) {
        self.census.notify_one();
    }

    /// A Domain was seen: where it is an orphan's, that one is no orphan any more.
    pub fn adopted(&self, uuid: &str) {
        if self.orphans.lock().contains(uuid) {
            self.census();
        }
    }

    /// These are the orphans that were reported.
    pub fn report_orphans(&self, uuids: BTreeSet<String>) {
        *self.orphans.lock() = uuids;
    }

    /// Waits until what the node reports may have changed.
    pub async fn census_due(&self) {
        self.census.notified().await;
    }

    async fn live(self: Arc<Self>, uuid: String, bell: Arc<Bell>) {
        let mut memory = Memory {
            restarts: Backoff::restarts(),
            failures: Backoff::failures(),
            waits_since: None,
            told_failure: false,
            busy: 0,
            acted: self.began,
        };
        // The sender lives as long as this does.
        let _ = self.gate.subscribe().wait_for(|open| *open).await;
        loop {
            let snapshot = bell.take();
            match self.pass(&uuid, &mut memory, snapshot.as_deref()).await {
                Next::Woken => bell.notify.notified().await,
                Next::After(time) => {
                    // Which of the two it was makes no difference.
                    let _ = tokio::time::timeout(time, bell.notify.notified()).await;
                }
                Next::Gone if self.retire(&uuid, &bell) => return,
                Next::Now | Next::Gone => {}
            }
        }
    }

    /// Ends the task of an instance, unless it was woken meanwhile.
    fn retire(&self, uuid: &str, bell: &Bell) -> bool {
        let mut tasks = self.tasks.lock();
        if !matches!(*bell.rung.lock(), Rung::Not) {
            return false;
        }
        tasks.remove(uuid);
        self.parts.metrics.instances.dec();
        true
    }

    /// Time since the agent began, for what is waited for.
    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}
