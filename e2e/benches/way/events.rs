//! What libvirt tells of its domains, with its own client's clock (milliseconds).

use std::{process::Stdio, sync::Arc};

use jiff::Timestamp;
use kilonova_e2e::{
    lab::Node,
    wait::{GENEROUS, wait_for},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::Result;

/// A domain that began to run.
pub(crate) const RUNNING: &[&str] = &["Resumed Unpaused"];
/// A domain that libvirt has begun, to run at once.
pub(crate) const STARTED: &[&str] = &["Resumed Unpaused", "Started Booted"];
/// A domain whose power was cut.
pub(crate) const DESTROYED: &[&str] = &["Stopped Destroyed"];

/// `virsh event`, listening on a node until it is dropped.
#[derive(Debug)]
pub(crate) struct Events {
    lines: Arc<Mutex<Vec<String>>>,
    _virsh: Child,
}

impl Events {
    /// Begins to listen.
    pub(crate) fn listen(node: &Node) -> Result<Self> {
        let mut virsh = Command::from(node.command([
            "stdbuf",
            "-oL",
            "virsh",
            "--quiet",
            "--connect",
            "qemu:///system",
            "event",
            "--event",
            "lifecycle",
            "--loop",
            "--timestamp",
        ]))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
        let output = virsh.stdout.take().ok_or("virsh has no output")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&lines);
        tokio::spawn(async move {
            let mut output = BufReader::new(output).lines();
            while let Ok(Some(line)) = output.next_line().await {
                all.lock().push(line);
            }
        });
        Ok(Self {
            lines,
            _virsh: virsh,
        })
    }

    /// When one of these happened to a domain at or after a time; waits for it.
    pub(crate) async fn when(
        &self,
        domain: &str,
        what: &[&str],
        from: Timestamp,
    ) -> Result<Timestamp> {
        let name = format!("for domain '{domain}': ");
        let waiting = format!("{what:?} of {domain}");
        let found = wait_for(waiting, GENEROUS, || async {
            let lines = self.lines.lock();
            let mut told = lines.iter().filter_map(|line| {
                let (before, event) = line.split_once(&name)?;
                what.contains(&event).then(|| time(before))?
            });
            told.find(|time| *time >= from)
                .ok_or_else(|| lines.join("\n"))
        });
        Ok(found.await?)
    }
}

/// The time at the beginning of a line: `2026-01-01 00:00:00.000+0000: event …`.
fn time(line: &str) -> Option<Timestamp> {
    let (time, _) = line.split_once(": event")?;
    Timestamp::strptime("%Y-%m-%d %H:%M:%S%.f%z", time).ok()
}
