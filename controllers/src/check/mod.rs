//! `kilonova-controllers check`: whether an installation is ready, and if not, why. This is what
//! `helm test` runs. It reads, and writes nothing to the API.

mod facts;
mod verdict;

use clap::Args;
use kilonova_common::telemetry::chain;
use kube::Client;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use verdict::{Verdict, judge};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(2);

/// What is checked.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Namespace of the agents' pods.
    #[arg(
        long,
        env = "KILONOVA_AGENTS_NAMESPACE",
        default_value = "kilonova-agents"
    )]
    pub agents_namespace: String,
    /// How long it may take until everything is ready, in seconds.
    #[arg(long, env = "KILONOVA_CHECK_TIMEOUT_SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub timeout_seconds: u32,
}

/// Looks until everything is ready or the time is over; says which, and gives whether it is ready.
pub async fn check(client: &Client, namespace: &str, args: &CheckArgs) -> bool {
    let end = Instant::now() + Duration::from_secs(args.timeout_seconds.into());
    loop {
        let verdict = match facts::read(client, namespace, &args.agents_namespace).await {
            Ok(facts) => judge(&facts),
            Err(error) => Verdict {
                problems: vec![chain(&error)],
                notes: Vec::new(),
            },
        };
        if verdict.problems.is_empty() || Instant::now() >= end {
            tell(&verdict);
            return verdict.problems.is_empty();
        }
        sleep(LOOK).await;
    }
}

/// For a person, on standard output: this is what the program is run for.
fn tell(verdict: &Verdict) {
    for problem in &verdict.problems {
        println!("not ready: {problem}");
    }
    for note in &verdict.notes {
        println!("note: {note}");
    }
    if verdict.problems.is_empty() {
        println!("ready");
    }
}
