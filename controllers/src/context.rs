//! What every task shares: the world, the queue, the writer.

use crate::cache::reading::Leniency;
use crate::cache::reflect::Sink;
use crate::cache::store::WentBack;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::world::{Cached, Work, World, leniency};
use crate::write::Writer;
use k8s_openapi::jiff::SignedDuration;
use kilonova_common::http_source::HttpSource;
use kube::Client;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// What every task shares.
pub struct Context {
    /// Reads of single objects.
    pub client: Client,
    /// Everything that is known.
    pub world: Mutex<World>,
    /// What is to be looked at.
    pub queue: Queue<Work>,
    /// Writes.
    pub writer: Writer,
    /// Events of Instances.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
    /// Image servers.
    pub images: HttpSource,
    /// How many image headers are read at once.
    pub image_readers: Arc<Semaphore>,
    /// Id of this cluster.
    pub cluster_id: String,
    /// How long abandoned disks are kept; `None`: for ever.
    pub retention: Option<SignedDuration>,
}

impl Context {
    /// Queues work.
    pub fn enqueue(&self, work: impl IntoIterator<Item = Work>) {
        for key in work {
            self.queue.add(key);
        }
    }

    /// Takes in an object that was written or read, and queues what follows from it, but for the
    /// work that is at it already.
    pub fn written<K: Cached>(&self, object: K, at_it: &Work) {
        let work = self.world.lock().written(object);
        self.enqueue(work.into_iter().filter(|work| work != at_it));
    }

    /// Reads an object anew and takes it in; `None` where it is gone.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn refresh<K: Cached>(
        &self,
        namespace: &str,
        name: &str,
        at_it: &Work,
    ) -> kube::Result<Option<K>> {
        let namespace = (!namespace.is_empty()).then_some(namespace);
        let object = K::api(&self.client, namespace).get_opt(name).await?;
        if let Some(object) = &object {
            self.written(object.clone(), at_it);
        }
        Ok(object)
    }
}

/// Takes in what the watch of a kind delivers.
pub struct WorldSink {
    /// Where to.
    pub context: Arc<Context>,
    /// Whether nodes' health is told by this kind: then what is missed while the watch is lost is
    /// no node's fault.
    pub tells_health: bool,
}

impl<K: Cached> Sink<K> for WorldSink {
    fn trim(&self, object: &mut K) {
        object.trim();
    }

    fn replaced(&self, list: Vec<K>, version: u64) -> Result<(), WentBack> {
        let work = self.context.world.lock().replaced(list, version)?;
        self.context.enqueue(work);
        Ok(())
    }

    fn seen(&self, object: K) {
        let work = self.context.world.lock().seen(object);
        self.context.enqueue(work);
    }

    fn deleted(&self, object: &K) {
        let work = self.context.world.lock().deleted(object);
        self.context.enqueue(work);
    }

    fn lost(&self) {
        if self.tells_health {
            self.context.world.lock().lost(Instant::now());
        }
    }

    fn contact(&self) {
        if self.tells_health {
            let work = self.context.world.lock().contact(Instant::now());
            self.context.enqueue(work);
        }
    }

    fn strange(&self, uid: &str, why: Option<String>) {
        self.context.world.lock().note_strange(uid, why);
    }

    fn leniency(&self) -> Leniency {
        leniency::<K>()
    }
}
