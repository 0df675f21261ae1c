//! `kilonova-simulation`: runs schedules; a seed that fails is printed, and told again by `--seed`.

use clap::Parser;
use kilonova_simulation::{Schedule, run};
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Instant;

/// Runs the product's cores through orders of events that seeds decide, and looks at the laws.
#[derive(Debug, Parser)]
struct Cli {
    /// How many schedules are run.
    #[arg(long, default_value_t = 1_000_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs the schedule of this seed alone, and tells its story.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs all of them, whatever fails.
    #[arg(long)]
    keep_going: bool,
    /// How many schedules are run at once; by default one a processor.
    #[arg(long)]
    threads: Option<u64>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let processors = available_parallelism().map_or(1, |n| u64::try_from(n.get()).unwrap_or(1));
    let began = Instant::now();
    let broken = if let Some(seed) = cli.seed {
        let ended = Schedule::new(seed, true).run();
        ended.err().into_iter().collect()
    } else {
        let seeds = cli.from..cli.from.saturating_add(cli.seeds);
        run(&seeds, cli.threads.unwrap_or(processors), cli.keep_going)
    };
    for broken in &broken {
        eprintln!("{broken}");
    }
    if let Some(first) = broken.first() {
        eprintln!(
            "the story of the first: kilonova-simulation --seed {}",
            first.seed
        );
        return ExitCode::FAILURE;
    }
    let (schedules, took) = (cli.seed.map_or(cli.seeds, |_| 1), began.elapsed());
    println!(
        "{schedules} schedules in {:.1} s: every law held",
        took.as_secs_f64()
    );
    ExitCode::SUCCESS
}
