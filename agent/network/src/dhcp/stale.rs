//! DHCP servers that an agent which was killed left behind.
//!
//! The kernel ends them with their agent; but for the moment between a start and the order to end
//! with its parent, that order does not hold yet.

use crate::files::SegmentFiles;
use crate::netns;
use kilonova_agent_core::network::Netns;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a process that was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a server is told its configuration; by this it is known.
pub(super) fn configuration_argument(files: &SegmentFiles) -> String {
    format!("--conf-file={}", files.dhcp.configuration().display())
}

/// Ends the servers of a Segment that are not this process's children, and waits until they are
/// gone. Blocks.
pub fn end_stale(netns: &Netns, files: &SegmentFiles) {
    let argument = configuration_argument(files);
    let segment = netns::id(&netns::path(netns));
    let mounts = netns::id(Path::new("/proc/self/ns/mnt"));
    // The same path is another file in another node's mount namespace.
    let here = |process: &Path| {
        let is = |name: &str| netns::id(&process.join("ns").join(name));
        is("mnt") == mounts || (segment.is_some() && is("net") == segment)
    };
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return;
    };
    for process in processes.flatten() {
        let pid = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let path = process.path();
        if let Some(pid) = pid
            && has_argument(&path, &argument)
            && here(&path)
        {
            tracing::warn!(%netns, pid, "ending a DHCP server that another agent left");
            // One that ended meanwhile needs no signal.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            let since = Instant::now();
            while has_argument(&path, &argument) && since.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Whether a process was started with this argument. One that has ended shows none.
fn has_argument(process: &Path, argument: &str) -> bool {
    let arguments = std::fs::read(process.join("cmdline")).unwrap_or_default();
    arguments
        .split(|byte| *byte == 0)
        .any(|is| is == argument.as_bytes())
}
