//! The life of the process: reach libvirt and the API server, then keep the node as it should be
//! until a signal comes. Guests run on after it.

use crate::api::{ApiError, Bootstrap, NodeApi, Writer, register};
use crate::cli::Cli;
use crate::effect::Effect;
use crate::jitter::Jitter;
use crate::metrics::Metrics;
use crate::node::{self, Fitness, Node, ProbeError, Trouble, WAIT, Waiting};
use crate::runner::{Parts, Runner, SegmentHolders};
use crate::watch;
use crate::world::World;
use kilonova_agent_core::desired::NodeSettings;
use kilonova_agent_core::hypervisor::newest_q35;
use kilonova_agent_core::network::InvalidNic;
use kilonova_agent_core::observed::NodeFacts;
use kilonova_agent_core::xml::CacheMode;
use kilonova_agent_libvirt::{Event, Libvirt, Limits};
use kilonova_agent_network::Network;
use kilonova_agent_storage::Storage;
use kilonova_common::http_server::{self, Endpoints, ListenError};
use kilonova_common::http_source::{FetchError, HttpSource, Timeouts};
use kilonova_common::telemetry::chain;
use kilonova_crds::Hypervisor;
use parking_lot::Mutex;
use prometheus::Registry;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// How often the API server is tried again at the start.
const RETRY: Duration = Duration::from_secs(2);
/// How often everything is looked at, whatever the events said.
const RESYNC: Duration = Duration::from_mins(1);

/// Why the process ends, where nobody asked for it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No runtime.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    /// No signal handlers.
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
    /// No metrics.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
    /// No server for them.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The server for them ended.
    #[error("the metrics server ended")]
    Server(#[source] Option<std::io::Error>),
    /// No client for images.
    #[error("cannot make a client for images")]
    Http(#[from] FetchError),
    /// The run directory cannot be used.
    #[error("cannot use the run directory")]
    Network(#[from] kilonova_agent_network::Error),
    /// The physical networks make no sense.
    #[error("--physical-network")]
    PhysicalNetworks(#[from] InvalidNic),
    /// No way to the API server.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Runs the agent until it is told to end.
pub async fn run(cli: Cli) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    tokio::select! {
        ended = serve(cli) => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

async fn serve(cli: Cli) -> Result<(), RunError> {
    let registry = Registry::new();
    let metrics = Metrics::new(&registry)?;
    let world = Arc::new(World::default());
    let told = Arc::new(AtomicBool::new(false));
    let ready = Arc::clone(&told);
    let endpoints = Endpoints {
        registry,
        healthy: Arc::new(|| None),
        ready: Arc::new(move || {
            let waiting = || "the cluster was not told yet what this node is".to_owned();
            (!ready.load(Ordering::Relaxed)).then(waiting)
        }),
    };
    let (address, server) = http_server::bind(cli.metrics_addr, endpoints).await?;
    info!(%address, "metrics and health");
    let http = HttpSource::new(Timeouts::default(), cli.address_policy())?;
    let network = Arc::new(Network::new(cli.network()?)?);
    let resumed = Effect::ResumeNetwork.carry_out(network.resume()).await;
    if let Err(error) = resumed {
        warn!(error = chain(&error), "not every network is served yet");
    }
    let bootstrap = Bootstrap::new(cli.kubeconfig.as_deref(), &cli.node_name).await?;
    tokio::select! {
        listened = server => Err(RunError::Server(listened.err())),
        ended = work(&cli, metrics, world, told, http, network, bootstrap) => ended,
    }
}

async fn work(
    cli: &Cli,
    metrics: Metrics,
    world: Arc<World>,
    told: Arc<AtomicBool>,
    http: HttpSource,
    network: Arc<Network>,
    bootstrap: Bootstrap,
) -> Result<(), RunError> {
    let state_dir = cli.state_dir.clone();
    let fitness = Fitness::new(Arc::clone(&network), state_dir, cli.virt_type);
    let mut waiting = Waiting {
        own: bootstrap.client().clone(),
        metrics: metrics.clone(),
        hypervisor: registered(&bootstrap, &cli.node_name).await,
        told: Arc::clone(&told),
        fitness: Arc::new(fitness),
    };
    let storage = storage(&cli.state_dir, &http, &mut waiting).await;
    let (libvirt, facts) = libvirt(&cli.libvirt_uri, &mut waiting).await;
    let api = bootstrap.enter(&cli.run_dir).await?;
    let settings = loop {
        match settings(cli, &libvirt, &facts, &storage, &api).await {
            Ok(settings) => break settings,
            Err(error) => {
                let trouble = chain(&error);
                warn!(trouble, "cannot find out how guests run here");
                waiting.tell(Trouble::Libvirt(&trouble)).await;
            }
        }
        sleep(WAIT).await;
    };
    info!(cluster = settings.cluster_id, virtualization = ?settings.virtualization, "this node");
    let node = Arc::new(Node {
        name: cli.node_name.clone(),
        own: bootstrap.client().clone(),
        facts,
        fitness: waiting.fitness,
        share: cli.share(),
        last: Mutex::new(Some(waiting.hypervisor)),
        told,
    });
    let own = bootstrap.client().clone();
    let writer = Writer::new(own, api.clone(), metrics.clone());
    let (client, namespace) = (api.client.clone(), api.namespace.clone());
    let runner = Runner::new(Parts {
        settings,
        libvirt,
        storage,
        network,
        api,
        writer,
        world: Arc::clone(&world),
        holders: SegmentHolders::default(),
        downloads: Semaphore::new(cli.downloads.into()),
        starts: Semaphore::new(cli.starts.into()),
        metrics,
    });
    let of = |runner: &Arc<Runner>| (Arc::clone(&world), Arc::clone(runner));
    let (domains_world, domains_runner) = of(&runner);
    let (segments_world, segments_runner) = of(&runner);
    tokio::join!(
        watch::domains(client.clone(), &namespace, domains_world, domains_runner),
        watch::segments(client, &namespace, segments_world, segments_runner),
        keep(&world, node, &runner),
    );
    Ok(())
}

/// What is kept up once it is known what should be here.
async fn keep(world: &World, node: Arc<Node>, runner: &Arc<Runner>) {
    let mut changes = world.changes();
    while !world.listed() {
        if changes.changed().await.is_err() {
            return;
        }
    }
    runner.open_gate().await;
    let told = async {
        // Its orphans are reported before the Lease says that this agent lives.
        node.report_until_taken(runner).await;
        let reported = Arc::clone(&node).keep_reported(Arc::clone(runner));
        let alive = Arc::clone(&node).keep_alive(Arc::clone(runner));
        tokio::join!(reported, alive);
    };
    tokio::join!(
        told,
        keep_looking(runner),
        listen(runner),
        runner.tend_segments(),
        runner.heed_network()
    );
}

/// Looks at everything at once, whenever it is asked for, and from time to time.
async fn keep_looking(runner: &Arc<Runner>) {
    loop {
        let pause = match runner.wake_all().await {
            Ok(()) => RESYNC,
            Err(error) => {
                warn!(error = chain(&error), "cannot look at everything");
                RETRY
            }
        };
        // Which of the two it was makes no difference.
        let _ = timeout(pause, runner.look_due()).await;
    }
}

async fn listen(runner: &Arc<Runner>) {
    let mut events = runner.parts().libvirt.events();
    while let Some(event) = events.next().await {
        match event {
            Event::Domain { uuid, .. } => {
                runner.wake(&uuid);
                // What it is and uses is told by the node's report alone.
                if runner.parts().world.domain(&uuid).is_none() {
                    runner.census();
                }
            }
            Event::Reconnected => {
                runner.look();
                runner.census();
            }
            Event::Disconnected => runner.census(),
        }
    }
}

/// The Hypervisor of this node, made where there is none. Waits for the API server.
async fn registered(bootstrap: &Bootstrap, node: &str) -> Hypervisor {
    let mut jitter = Jitter::of(node);
    loop {
        match register(bootstrap.client(), node).await {
            Ok(hypervisor) => return hypervisor,
            Err(error) => warn!(%error, "cannot register this node"),
        }
        sleep(jitter.next(RETRY)).await;
    }
}

/// The state directory. Waits for one that can be used, and says meanwhile what is wrong.
async fn storage(state_dir: &Path, http: &HttpSource, waiting: &mut Waiting) -> Storage {
    loop {
        match Storage::open(state_dir, http.clone()) {
            Ok(storage) => return storage,
            Err(error) => {
                let trouble = chain(&error);
                warn!(trouble, "waiting for the state directory");
                waiting.tell(Trouble::StateDirectory(&error)).await;
            }
        }
        sleep(WAIT).await;
    }
}

/// libvirt, and what it says of the node. Waits for it, and says meanwhile what is wrong.
async fn libvirt(uri: &str, waiting: &mut Waiting) -> (Libvirt, NodeFacts) {
    loop {
        let trouble = match Libvirt::connect(uri, Limits::default()).await {
            Ok(libvirt) => match libvirt.facts().await {
                Ok(facts) => return (libvirt, facts),
                Err(error) => format!(
                    "libvirt does not say what this node can run ({}): is QEMU installed?",
                    chain(&error)
                ),
            },
            Err(error) => format!(
                "no libvirt at {uri} ({}): install and start libvirtd or virtqemud on this node",
                chain(&error)
            ),
        };
        warn!(trouble, "waiting for libvirt");
        waiting.tell(Trouble::Libvirt(&trouble)).await;
        sleep(WAIT).await;
    }
}

async fn settings(
    cli: &Cli,
    libvirt: &Libvirt,
    facts: &NodeFacts,
    storage: &Storage,
    api: &NodeApi,
) -> Result<NodeSettings, ProbeError> {
    let machine = newest_q35(&facts.machine_types).unwrap_or_else(|| "q35".to_owned());
    let state = &cli.state_dir;
    let virtualization =
        node::virtualization(cli.virt_type, libvirt, facts, &machine, state).await?;
    Ok(NodeSettings {
        cluster_id: api.cluster_id.clone(),
        virtualization,
        machine_types: facts.machine_types.clone(),
        machine,
        cache: if storage.direct_io() {
            CacheMode::None
        } else {
            CacheMode::Writeback
        },
    })
}
