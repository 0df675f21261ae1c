//! One dnsmasq and the thread that keeps it running.
//!
//! The thread stands in the Segment's netns, and so does what it starts. The kernel ends dnsmasq
//! when the thread that started it ends, which is why each has one that lasts.

use super::stale::{configuration_argument, end_stale};
use super::{DhcpError, prune_leases};
use crate::files::SegmentFiles;
use crate::netns::{self, NetnsError, NetnsId};
use kilonova_agent_core::network::{DhcpObserved, Netns};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a start may take until it serves.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before a start after one that did not last, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// What ran this long was no failed start.
const LASTED: Duration = Duration::from_secs(5);
/// How many lines of what it said last are shown when it ends.
const REMEMBERED: usize = 4;
/// What dnsmasq says when its sockets are open and its ports are read.
const SERVES: &str = "started, version";
/// What dnsmasq needs: its port, its raw answers, the kernel's neighbour table; and it drops its
/// groups.
const CAPABILITIES: &str = "--bounding-set=-all,+net_admin,+net_raw,+net_bind_service,+setgid";

/// How a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// It was started, and does not serve yet.
    Starting,
    /// It serves.
    Serving,
    /// It ended before it served; what it said. It is tried again.
    Failing(String),
    /// Its thread has ended.
    Gone,
}

/// What the thread and its owner share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    phase: watch::Sender<Phase>,
}

#[derive(Debug, Default)]
struct State {
    /// The process, as long as its number is surely its own.
    process: Option<Pid>,
    stopped: bool,
}

/// One DHCP server.
#[derive(Debug)]
pub(super) struct Server {
    shared: Arc<Shared>,
    /// The netns that it serves.
    pub netns: NetnsId,
    /// What it was started with.
    pub started_as: DhcpObserved,
}

impl Server {
    /// Starts a server, by the files that are written.
    pub fn start(
        netns: &Netns,
        files: &SegmentFiles,
        started_as: DhcpObserved,
    ) -> Result<Self, DhcpError> {
        let path = netns::path(netns);
        let namespace = netns::open(netns)?;
        let id = netns::id(&path).ok_or(NetnsError::Lost)?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            phase: watch::Sender::new(Phase::Starting),
        });
        let (for_thread, netns, files) = (shared.clone(), netns.clone(), files.clone());
        std::thread::Builder::new()
            .name(format!("dhcp {netns}"))
            .spawn(move || {
                let shared = Farewell(for_thread);
                if let Err(error) = netns::enter(&path, &namespace) {
                    tracing::error!(%netns, error = &error as &dyn std::error::Error, "no DHCP");
                    return;
                }
                drop(namespace);
                end_stale(&netns, &files);
                keep(&shared.0, &netns, &files);
            })
            .map_err(DhcpError::Thread)?;
        Ok(Self {
            shared,
            netns: id,
            started_as,
        })
    }

    /// Whether it serves.
    pub fn serves(&self) -> bool {
        *self.shared.phase.borrow() == Phase::Serving
    }

    /// Waits until it serves.
    pub async fn ready(&self) -> Result<(), DhcpError> {
        let mut phase = self.shared.phase.subscribe();
        let settled = phase.wait_for(|phase| *phase != Phase::Starting);
        let settled = tokio::time::timeout(START_PATIENCE, settled).await;
        let why = match settled {
            Ok(Ok(phase)) => match &*phase {
                Phase::Serving => return Ok(()),
                Phase::Failing(said) => said.clone(),
                Phase::Starting | Phase::Gone => "it was ended".to_owned(),
            },
            Ok(Err(_)) => "its thread is gone".to_owned(),
            Err(_) => format!("nothing within {} s", START_PATIENCE.as_secs()),
        };
        Err(DhcpError::NotServing(why))
    }

    /// Makes it read its ports again.
    pub fn reload(&self) {
        self.shared.signal(Signal::SIGHUP);
    }

    /// Ends the process; the thread starts it anew.
    pub fn restart(&self) {
        self.shared.phase.send_replace(Phase::Starting);
        self.shared.signal(Signal::SIGKILL);
    }

    /// Ends it for good, and waits until it is gone.
    pub async fn stop(&self) {
        self.shared.stop();
        let mut phase = self.shared.phase.subscribe();
        // That the channel closes cannot be: its sender is held here.
        let _ = phase.wait_for(|phase| *phase == Phase::Gone).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn signal(&self, signal: Signal) {
        if let Some(process) = self.state.lock().process {
            // It has not been waited for, so the number is its own.
            let _ = kill(process, signal);
        }
    }

    fn stop(&self) {
        self.state.lock().stopped = true;
        self.signal(Signal::SIGKILL);
        self.changed.notify_all();
    }

    /// Waits, unless it is to stop.
    fn pause(&self, how_long: Duration) {
        let mut state = self.state.lock();
        if !state.stopped {
            self.changed.wait_for(&mut state, how_long);
        }
    }
}

/// Says that the thread has ended, however it did.
struct Farewell(Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.phase.send_replace(Phase::Gone);
    }
}

/// Keeps one server running until it is stopped.
fn keep(shared: &Shared, netns: &Netns, files: &SegmentFiles) {
    let mut retry = RETRY.0;
    loop {
        if let Err(error) = prune_leases(files) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(%netns, error, "old leases stay");
        }
        let since = Instant::now();
        let said = match launch(shared, files) {
            Ok(None) => return,
            Ok(Some(child)) => attend(shared, netns, child),
            Err(error) => format!("setpriv: {error}"),
        };
        if shared.state.lock().stopped {
            return;
        }
        tracing::warn!(%netns, said, "the DHCP server ended, and is started again");
        let failed = *shared.phase.borrow() != Phase::Serving;
        if failed {
            shared.phase.send_replace(Phase::Failing(said));
        } else {
            shared.phase.send_replace(Phase::Starting);
        }
        if failed || since.elapsed() < LASTED {
            shared.pause(retry);
            retry = RETRY.1.min(retry * 2);
        } else {
            retry = RETRY.0;
        }
    }
}

/// Starts the process, unless it is to stop.
fn launch(shared: &Shared, files: &SegmentFiles) -> io::Result<Option<Child>> {
    let mut state = shared.state.lock();
    if state.stopped {
        return Ok(None);
    }
    let child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--no-new-privs", "--inh-caps=-all"])
        .args([CAPABILITIES, "dnsmasq", "--keep-in-foreground"])
        .arg(configuration_argument(files))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    state.process = i32::try_from(child.id()).ok().map(Pid::from_raw);
    Ok(Some(child))
}

/// Listens to the process until it ends, and gives what it said last.
fn attend(shared: &Shared, netns: &Netns, mut child: Child) -> String {
    let mut said: VecDeque<String> = VecDeque::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            tracing::debug!(%netns, line, "dnsmasq");
            if line.contains(SERVES) {
                shared.phase.send_replace(Phase::Serving);
            }
            said.truncate(REMEMBERED - 1);
            said.push_front(line);
        }
    }
    let process = shared.state.lock().process;
    if let Some(process) = process {
        // It stays a zombie, its number its own, until nobody can signal it any more.
        let _ = waitid(
            Id::Pid(process),
            WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT,
        );
    }
    shared.state.lock().process = None;
    let said: Vec<_> = said.into_iter().rev().collect();
    let said = said.join("; ");
    match child.wait() {
        Ok(status) => format!("{status}: {said}"),
        Err(error) => format!("{error}: {said}"),
    }
}
