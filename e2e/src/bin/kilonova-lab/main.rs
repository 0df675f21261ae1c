//! `kilonova-lab`: what `make` calls. Sets the machine up, keeps one lab running for a person, shows it off.

mod chart;
mod cluster;
mod cluster_demo;
mod demo;
mod existing;
mod kept;
mod progress;
mod quickstart;
mod setup;
mod show;
mod up;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use kilonova_e2e::{build, lab};
use tracing_subscriber::EnvFilter;

use crate::{kept::Kept, progress::Progress};

/// Kilonova on one machine: real parts, one command.
#[derive(Debug, Parser)]
#[command(name = "kilonova-lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what is missing on this machine and build everything; harmless when all is there
    Setup,
    /// Start a control plane, a node with libvirt, the controllers and an agent; harmless when they run. With
    /// `KILONOVA_CLUSTER=existing`: controllers and agent for the cluster of KUBECONFIG, on this machine
    Up,
    /// End and remove what `up` started
    Down,
    /// Show the whole way of an instance: set up, start, apply, boot, log in, delete
    Demo {
        /// Leave the control plane and the node running at the end
        #[arg(long)]
        keep: bool,
    },
    /// Build the guest image, and print its path and checksum
    GuestImage,
    /// Write what is generated of the system's chart: its README's table and its schema's descriptions
    Chart {
        /// Write nothing, and fail when a file differs
        #[arg(long)]
        check: bool,
    },
    /// Run a command on a node of the running lab
    Exec {
        /// The node: node-1
        node: String,
        /// The command
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// Real Kubernetes nodes: machines of their own with kubelet, containerd and libvirt
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// The first process of a lab
    #[command(hide = true)]
    Init {
        #[arg(long)]
        remove: PathBuf,
    },
    /// The way from the machine's loopback into a lab
    #[command(hide = true)]
    Forward {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        netns: PathBuf,
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        report: PathBuf,
    },
    /// An HTTP server for images
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Install what is missing on this machine and build everything; harmless when all is there
    Setup,
    /// Start a control plane and some nodes; harmless when they run
    Up {
        /// How many nodes
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
        nodes: u8,
    },
    /// Show it: `helm install` on the cluster that is up, and an instance on each node
    Demo,
    /// End and remove what `cluster up` started
    Down,
    /// Run a command on a node of the running cluster
    Exec {
        /// The node: node-1
        node: String,
        /// The command
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,kube_client=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            kilonova_e2e::tell(&error);
            ExitCode::FAILURE
        }
    }
}

/// Of these, the hidden ones must run before any runtime makes threads: they enter namespaces.
fn run(command: Command) -> kilonova_e2e::Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Init { remove } => lab::run_init(&remove).map(done),
        Command::Forward {
            listen,
            netns,
            to,
            report,
        } => lab::run_forwarder(listen, &netns, to, &report).map(done),
        Command::Serve { listen, dir } => lab::serve_forever(listen, dir).map(done),
        Command::Setup => setup::run(&Progress::new()).map(done),
        Command::Down => on_runtime(down()).map(done),
        Command::GuestImage => {
            let image = build::guest::ensure(|what| eprintln!("{what}"))?;
            println!("{}\n{}", image.path.display(), image.checksum());
            Ok(ExitCode::SUCCESS)
        }
        Command::Chart { check } => chart::run(check),
        Command::Exec { node, command } => Kept::lab().exec(&node, &command),
        Command::Up if existing::is_asked_for()? => {
            on_runtime(async { existing::up(&Progress::new()).await }).map(done)
        }
        Command::Up => on_runtime(async { up::up(&Progress::new()).await.map(drop) }).map(done),
        Command::Cluster(command) => run_cluster(command),
        Command::Demo { keep } => on_runtime(demo::run(keep)).map(done),
    }
}

/// What `up` started, for a cluster of the user's and in a lab; where only the former is asked for, that.
async fn down() -> kilonova_e2e::Result<()> {
    let progress = Progress::new();
    let only = existing::is_asked_for()?;
    let existing = existing::down(&progress).await;
    if only {
        return existing;
    }
    // A cluster that is gone is no reason to leave the lab running.
    up::down(&progress).and(existing)
}

fn run_cluster(command: ClusterCommand) -> kilonova_e2e::Result<ExitCode> {
    let progress = Progress::new();
    match command {
        ClusterCommand::Setup => setup::cluster(&progress)?,
        ClusterCommand::Up { nodes } => on_runtime(cluster::up(&progress, nodes.into()))?,
        ClusterCommand::Demo => on_runtime(cluster_demo::run())?,
        ClusterCommand::Down => cluster::down(&progress)?,
        ClusterCommand::Exec { node, command } => return Kept::cluster().exec(&node, &command),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a task; Ctrl-C drops it, and what it has started ends with it.
fn on_runtime(task: impl Future<Output = kilonova_e2e::Result<()>>) -> kilonova_e2e::Result<()> {
    let start = |source| kilonova_e2e::Error::Start {
        program: "the runtime".to_owned(),
        source,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(start)?;
    runtime.block_on(async {
        tokio::select! {
            result = task => result,
            _ = tokio::signal::ctrl_c() => Err(kilonova_e2e::Error::Interrupted),
        }
    })
}
