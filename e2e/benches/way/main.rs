//! What the product costs beside the parts that it stands on, in one run on one machine: `make bench`.
//!
//! - From `apply` to a running libvirt domain, against `virsh create` of the same XML on the same node.
//! - A root disk, against `qemu-img create -b`, over a small and a large image.
//!
//! Prints Markdown, for `docs/performance.md`. Looks from outside: libvirt's own events tell when a domain runs. The lab
//! ends with this program.

mod clone;
mod events;
mod machine;
mod samples;
mod start;
mod steps;

use std::{error::Error, process::ExitCode};

/// A bench that cannot run says so and ends.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

async fn run() -> Result<()> {
    println!("{}\n", machine::describe()?);
    println!("### A root disk\n\n{}", clone::measure().await?);
    println!(
        "### From `apply` to a running domain\n\n{}",
        start::measure().await?
    );
    Ok(())
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            kilonova_e2e::tell(error.as_ref());
            ExitCode::FAILURE
        }
    }
}
