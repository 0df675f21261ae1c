//! `make chart`: what is generated of the system's chart.

use std::process::ExitCode;

use kilonova_e2e::{Result, chart, repo};

/// Writes it, or tells with `check` what differs.
pub(crate) fn run(check: bool) -> Result<ExitCode> {
    let dir = repo::root().join("charts/kilonova");
    if !check {
        for path in chart::write(&dir)? {
            println!("wrote {}", path.display());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let stale = chart::stale(&dir)?;
    for (path, _) in &stale {
        eprintln!(
            "{} is not what values.yaml says: run `make chart`",
            path.display()
        );
    }
    Ok(if stale.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
