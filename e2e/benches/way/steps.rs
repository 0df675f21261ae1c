//! What the agent's log says of its steps: where the time of a start goes.

use std::{collections::HashMap, time::Duration};

use crate::samples::{Samples, ms};

/// The steps of a start, in their order.
const STEPS: [&str; 10] = [
    "confirm",
    "write_record",
    "create_disk",
    "write_config_drive",
    "define",
    "ensure_segment",
    "make_tap",
    "start",
    "plug",
    "resume",
];

/// The median of each step of these instances, up to where they run, in a line.
pub(crate) fn medians(log: &str, uuids: &[String]) -> String {
    let starts: Vec<_> = uuids.iter().map(|uuid| totals(log, uuid)).collect();
    let steps = STEPS.iter().filter_map(|step| {
        let all = starts.iter().filter_map(|start| start.get(step).copied());
        let samples = Samples::new(all.collect())?;
        Some(format!("{step} {}", ms(samples.median())))
    });
    let steps: Vec<_> = steps.collect();
    format!(
        "The agent's steps in the second row, medians: {}.\n",
        steps.join(", ")
    )
}

/// What each step took for one instance, all its turns together.
fn totals<'a>(log: &'a str, uuid: &str) -> HashMap<&'a str, Duration> {
    let mut totals: HashMap<_, Duration> = HashMap::new();
    let steps = log.lines().filter_map(step).filter(|step| step.0 == uuid);
    for (_, name, ms) in steps {
        *totals.entry(name).or_default() += Duration::from_millis(ms);
        if name == "resume" {
            break;
        }
    }
    totals
}

/// Uuid, name and milliseconds of a step that was done.
fn step(line: &str) -> Option<(&str, &str, u64)> {
    let (_, told) = line.split_once(" done uuid=\"")?;
    let (uuid, told) = told.split_once("\" step=\"")?;
    let (name, ms) = told.split_once("\" ms=")?;
    Some((uuid, name, ms.trim().parse().ok()?))
}
