//! `kilonova-agent`: makes one node what its node namespace says.
//!
//! The Domains and Segments of one namespace come in by [`watch`] and stand in the [`world`]; the
//! [`runner`] has a task for each instance, which observes, asks the pure core for a plan, carries
//! it out and reports. [`node`] tells the cluster what the node is and that its agent lives;
//! [`api`] is the only way to the API server. Ending the agent ends no guest.

mod api;
mod cli;
mod effect;
mod jitter;
mod metrics;
mod node;
mod run;
mod runner;
mod watch;
mod world;

use clap::Parser;
use cli::Cli;
use kilonova_common::telemetry;
use std::process::ExitCode;
use tracing::{error, info};

fn main() -> ExitCode {
    let cli = Cli::parse();
    kilonova_common::tls::install_provider();
    if let Err(error) = telemetry::init(cli.log_format, "info") {
        eprintln!("cannot start logging: {error}");
        return ExitCode::FAILURE;
    }
    #[cfg(feature = "failpoints")]
    if let Err(error) = effect::list_points() {
        eprintln!("cannot list the failpoints: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Files are read on these: more of them at once is no faster, and each has a stack.
        .max_blocking_threads(16)
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run::run(cli)),
        Err(error) => Err(run::RunError::Runtime(error)),
    };
    match result {
        Ok(()) => {
            info!("ended; guests run on");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!(error = telemetry::chain(&error), "ending");
            ExitCode::FAILURE
        }
    }
}
