//! What the leader runs: a watch a kind, the workers, the teller of events.

use crate::cache::reflect::{Scope, reflect};
use crate::cache::store::WentBack;
use crate::cli::Cli;
use crate::context::{Context, WorldSink};
use crate::events;
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::reconcile;
use crate::run::RunError;
use crate::world::{Cached, NamespaceMeta, World};
use crate::write::Writer;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::jiff::SignedDuration;
use kilonova_common::http_source::{HttpSource, Timeouts};
use kilonova_crds::names::NODE_NAMESPACE_LABEL;
use kilonova_crds::{
    ClusterImage, Domain, Flavor, Hypervisor, Image, Instance, KeyPair, Network, NetworkClass,
    Segment,
};
use kube::{Api, Client};
use parking_lot::Mutex;
use std::any::TypeId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};
use tracing::{info, warn};

/// How long a watch of Leases is kept open by the server, in seconds: its silent death must be
/// noticed before nodes are taken for lost because of it.
const LEASE_WATCH_SECONDS: u32 = 20;
/// How often gauges are brought up to date.
const GAUGES: Duration = Duration::from_secs(5);
/// How often it is looked, at the start, whether every kind was listed.
const SYNC_LOOK: Duration = Duration::from_millis(5);
/// Delay between two tries to read the cluster's id.
const ID_RETRY: Duration = Duration::from_secs(1);

/// A task of the leader's; gives a value only when the process must start anew.
pub type Tasks = JoinSet<Option<WentBack>>;

/// Leads, until something ends that never should. `reading` is made false once every kind is read.
pub async fn lead(
    cli: &Cli,
    identity: String,
    client: Client,
    leadership: Arc<Leadership>,
    metrics: Metrics,
    reading: &AtomicBool,
    tasks: &mut Tasks,
) -> RunError {
    let images = match HttpSource::new(Timeouts::default(), cli.address_policy()) {
        Ok(images) => images,
        Err(error) => return error.into(),
    };
    let (events, teller) = events::channel(
        client.clone(),
        leadership.clone(),
        identity,
        metrics.clone(),
    );
    let stale_after = Duration::from_secs(cli.hypervisor_stale_seconds.into());
    let context = Arc::new(Context {
        cluster_id: cluster_id(cli, &client).await,
        world: Mutex::new(World::new(cli.placement.settings(), stale_after)),
        queue: Queue::default(),
        writer: Writer::new(client.clone(), leadership, metrics.clone()),
        client,
        events,
        metrics,
        images,
        image_readers: Arc::new(Semaphore::new(cli.image_readers.into())),
        retention: cli.abandoned_retention_seconds.0.map(signed),
    });
    tasks.spawn(async {
        teller.run().await;
        None
    });
    watch_all(&context, tasks);
    while !context.world.lock().synced() {
        sleep(SYNC_LOOK).await;
    }
    work(&context, cli.workers, tasks);
    reading.store(false, Ordering::Relaxed);
    match tasks.join_next().await {
        Some(Ok(Some(back))) => back.into(),
        _ => RunError::Task,
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// Everything is read: builds the ledgers, and starts the workers.
fn work(context: &Arc<Context>, workers: u16, tasks: &mut Tasks) {
    let work = context.world.lock().go_live(Instant::now());
    info!(work = work.len(), "everything is read; working");
    context.enqueue(work);
    for _ in 0..workers {
        let context = context.clone();
        tasks.spawn(async move {
            reconcile::work(context).await;
            None
        });
    }
    let context = context.clone();
    tasks.spawn(async move {
        gauges(&context).await;
        None
    });
}

fn watch_all(context: &Arc<Context>, tasks: &mut Tasks) {
    watch::<Instance>(context, tasks, Scope::default());
    watch::<Network>(context, tasks, Scope::default());
    watch::<Image>(context, tasks, Scope::default());
    watch::<ClusterImage>(context, tasks, Scope::default());
    watch::<KeyPair>(context, tasks, Scope::default());
    watch::<Flavor>(context, tasks, Scope::default());
    watch::<NetworkClass>(context, tasks, Scope::default());
    watch::<Hypervisor>(context, tasks, Scope::default());
    watch::<Domain>(context, tasks, Scope::default());
    watch::<Segment>(context, tasks, Scope::default());
    watch::<Node>(context, tasks, Scope::default());
    watch::<NamespaceMeta>(context, tasks, Scope::default());
    let leases = Scope {
        label: Some(NODE_NAMESPACE_LABEL),
        watch_seconds: LEASE_WATCH_SECONDS,
    };
    watch::<Lease>(context, tasks, leases);
}

fn watch<K: Cached>(context: &Arc<Context>, tasks: &mut Tasks, scope: Scope) {
    let api = K::api(&context.client, None);
    let sink = WorldSink {
        context: context.clone(),
        tells_health: TypeId::of::<K>() == TypeId::of::<Lease>(),
    };
    tasks.spawn(async move { Some(reflect::<K>(api, scope, sink).await) });
}

/// The id of the cluster: as given, or kube-system's uid.
async fn cluster_id(cli: &Cli, client: &Client) -> String {
    if let Some(id) = &cli.cluster_id {
        return id.clone();
    }
    let api: Api<Namespace> = Api::all(client.clone());
    loop {
        match api.get("kube-system").await {
            Ok(namespace) => {
                if let Some(uid) = namespace.metadata.uid {
                    return uid;
                }
            }
            Err(error) => warn!(%error, "cannot read the cluster's id"),
        }
        sleep(ID_RETRY).await;
    }
}

async fn gauges(context: &Context) {
    let mut ticks = interval(GAUGES);
    loop {
        ticks.tick().await;
        let metrics = &context.metrics;
        let ((instances, waiting), (hypervisors, ready)) = {
            let world = context.world.lock();
            let now = Instant::now();
            (world.instance_counts(), world.hypervisor_counts(now))
        };
        let set = |gauge: &prometheus::IntGauge, count: usize| {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        set(&metrics.queue_depth, context.queue.depth());
        let by_state = |state| metrics.instances.with_label_values(&[state]);
        set(&by_state("waiting"), waiting);
        set(&by_state("bound"), instances.saturating_sub(waiting));
        let by_state = |state| metrics.hypervisors.with_label_values(&[state]);
        set(&by_state("ready"), ready);
        set(&by_state("stale"), hypervisors.saturating_sub(ready));
    }
}
