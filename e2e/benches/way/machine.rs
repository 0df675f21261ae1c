//! Where it is measured: figures without that say nothing.

use std::{fs, thread};

use crate::Result;

/// The machine in a line, with what else it did when the bench began.
pub(crate) fn describe() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown CPU", |(_, model)| model.trim());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    Ok(format!(
        "{} cores ({model}), Linux {}, guests under emulation (TCG); load before: {load}",
        thread::available_parallelism()?,
        kernel.trim(),
    ))
}
