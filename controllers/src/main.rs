//! `kilonova-controllers`: decides and dispatches, behind one leader.
//!
//! A change that a watch delivers goes into the [`world`], which says what must be looked at
//! because of it; the [`queue`] gives that to a worker; [`reconcile`] asks the pure core what
//! follows and has it done by [`write`], whose answers go back into the world. Only the leader does
//! any of it. [`check`](mod@check) is for people who have installed it.

mod check;
mod cli;
mod context;
mod effect;
mod events;
mod lead;
mod leader;
mod metrics;
mod queue;
mod reconcile;
mod run;
mod write;

use clap::Parser;
use cli::{Cli, Command};
use kilonova_common::telemetry;
use kilonova_controllers::{cache, world};
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
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(run::RunError::Runtime(error)),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            error!(error = telemetry::chain(&error), "ending");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode, run::RunError> {
    if let Some(Command::Check(args)) = &cli.command {
        let client = run::client(&cli).await?;
        let ready = check::check(&client, &cli.namespace, args).await;
        return Ok(ExitCode::from(u8::from(!ready)));
    }
    run::run(cli).await?;
    info!("ended");
    Ok(ExitCode::SUCCESS)
}
