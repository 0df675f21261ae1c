//! The life of the process: stand by, lead, end.

use crate::cache::store::WentBack;
use crate::cli::Cli;
use crate::lead::lead;
use crate::leader::{Election, Lost, acquire};
use crate::metrics::Metrics;
use kilonova_common::http_server::{self, Endpoints, ListenError};
use kilonova_common::http_source::FetchError;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use prometheus::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing::info;

/// Why the process ends, where nobody asked for it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No runtime.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    /// No signal handlers.
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
    /// The kubeconfig cannot be read.
    #[error("cannot read the kubeconfig")]
    Kubeconfig(#[from] KubeconfigError),
    /// No cluster to be found.
    #[error("no kubeconfig is given, and this is no pod")]
    NoCluster(#[from] kube::config::InClusterError),
    /// The client cannot be made.
    #[error("cannot make an API client")]
    Client(#[source] kube::Error),
    /// The metrics clash.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
    /// The port is taken.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The server for metrics ended.
    #[error("the metrics server ended")]
    Server(#[source] std::io::Error),
    /// No client for images.
    #[error(transparent)]
    Images(#[from] FetchError),
    /// The Lease is lost.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The API server was restored.
    #[error(transparent)]
    WentBack(#[from] WentBack),
    /// A task ended that never should.
    #[error("a task ended")]
    Task,
}

/// Runs until a signal asks for the end, or the process cannot go on.
///
/// # Errors
/// Any [`RunError`].
pub async fn run(cli: Cli) -> Result<(), RunError> {
    // One name for the whole life of the process.
    let identity = cli.identity(SystemTime::now());
    let registry = Registry::new();
    let metrics = Metrics::new(&registry)?;
    // A standby is ready to do what it is for: to stand by.
    let reading = Arc::new(AtomicBool::new(false));
    let told = reading.clone();
    let endpoints = Endpoints {
        registry,
        healthy: Arc::new(|| None),
        ready: Arc::new(move || {
            let reading = told.load(Ordering::Relaxed);
            reading.then(|| "leading, and still reading the API".to_owned())
        }),
    };
    let (address, serve) = http_server::bind(cli.metrics_addr, endpoints).await?;
    info!(%address, "serving metrics");
    let client = client(&cli).await?;
    tokio::select! {
        result = serve => match result {
            Ok(()) => Err(RunError::Task),
            Err(error) => Err(RunError::Server(error)),
        },
        result = stand_by_and_lead(cli, identity, client, metrics, &reading) => result,
    }
}

/// The client that the command line asks for.
///
/// # Errors
/// When there is no way to the API server.
pub async fn client(cli: &Cli) -> Result<Client, RunError> {
    let mut config = match &cli.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
        }
        None => Config::incluster()?,
    };
    // Each caller decides on another try, from what is true then.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config).map_err(RunError::Client)
}

async fn stand_by_and_lead(
    cli: Cli,
    identity: String,
    client: Client,
    metrics: Metrics,
    reading: &AtomicBool,
) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let end = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::pin!(end);
    let election = Election {
        namespace: cli.namespace.clone(),
        identity: identity.clone(),
        duration: Duration::from_secs(cli.lease_duration_seconds.into()),
        renew: Duration::from_secs(cli.lease_renew_seconds.into()),
    };
    info!(identity = election.identity, "standing by");
    let (mut keeper, leadership) = tokio::select! {
        acquired = acquire(client.clone(), election) => acquired,
        () = &mut end => return Ok(()),
    };
    metrics.leader.set(1);
    reading.store(true, Ordering::Relaxed);
    let mut tasks = JoinSet::new();
    let result = tokio::select! {
        lost = keeper.keep() => Err(lost.into()),
        error = lead(&cli, identity, client, leadership, metrics.clone(), reading, &mut tasks) => Err(error),
        () = &mut end => Ok(()),
    };
    // Whatever is being written is cut off before the Lease is given up.
    tasks.shutdown().await;
    metrics.leader.set(0);
    if !matches!(result, Err(RunError::Lost(_))) {
        keeper.release().await;
    }
    result
}
