//! The first process of a lab: everything else of the lab lives in its process-id namespace and ends with it.
//!
//! Two halves. [`Init`] is our side: it starts `unshare … kilonova-lab init` and holds a pipe to it. [`run`] is the
//! process itself: it reaps orphans (libvirt takes a zombie for a QEMU that will not die), and when the pipe closes,
//! because we let go of it, panicked, or were killed, it kills everything, removes the lab's directory and ends.

use std::{
    fs,
    io::{self, BufRead as _, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::record::Record;
use crate::{
    Error, Result,
    process::{Namespaces, ProcessId},
    repo,
};

/// The line by which the lab is let run on after us.
const DETACH: &str = "detach";

/// How long the end of a lab may take: killing is quick, removing guests' disks may not be.
const PATIENCE: Duration = Duration::from_secs(30);

/// Our hold on a lab: when it is dropped, the lab ends, whatever it does.
#[derive(Debug)]
pub(super) struct Init {
    launcher: Child,
    hold: Option<ChildStdin>,
    process: ProcessId,
    record: Record,
}

impl Init {
    /// Makes the namespaces and their first process. `dir` is removed at the end of the lab.
    pub(super) fn start(dir: &Path) -> Result<Self> {
        let binary = repo::lab_binary().ok_or_else(|| Error::Missing {
            what: "the program kilonova-lab".to_owned(),
            remedy: "build it: cargo build -p kilonova-e2e --bin kilonova-lab".to_owned(),
        })?;
        let mut command = Command::new("setsid");
        command.args([
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "--net",
            "--mount",
            "--propagation",
            "private",
            "--mount-proc",
        ]);
        command
            .arg("--")
            .arg(binary)
            .arg("init")
            .arg("--remove")
            .arg(dir);
        let log = dir.join("logs/lab.log");
        let output = fs::File::create(&log).map_err(Error::file("create", &log))?;
        let errors = output.try_clone().map_err(Error::file("open", &log))?;
        command.stdin(Stdio::piped()).stdout(output).stderr(errors);
        let mut launcher = command.spawn().map_err(|source| Error::Start {
            program: "unshare".to_owned(),
            source,
        })?;
        let hold = launcher.stdin.take();
        let (launcher_id, process) = first_child(&mut launcher, &log)?;
        let record = Record::new(process, launcher_id);
        let init = Self {
            launcher,
            hold,
            process,
            record,
        };
        init.record.write(dir)?;
        Ok(init)
    }

    /// The namespaces of the lab.
    pub(super) fn namespaces(&self) -> Namespaces {
        Namespaces::lab(self.process)
    }

    /// What is written down about the lab.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// The first process.
    pub(super) fn process(&self) -> ProcessId {
        self.process
    }

    /// Lets the lab run on after us. It ends when its first process is killed; its directory stays then.
    pub(super) fn detach(mut self) -> Result<()> {
        if let Some(hold) = &mut self.hold {
            writeln!(hold, "{DETACH}")
                .map_err(Error::file("write to", "the lab's first process"))?;
        }
        std::mem::forget(self);
        Ok(())
    }

    fn end(&mut self) {
        drop(self.hold.take());
        let end = Instant::now() + PATIENCE;
        while self.process.is_alive() && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
        if let Err(error) = self.process.signal(Signal::SIGKILL) {
            tracing::warn!(%error, "the lab's first process does not end");
        }
        if let Err(error) = self.launcher.wait() {
            tracing::warn!(%error, "cannot wait for unshare");
        }
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until `unshare` has made the namespaces and their first process runs our program.
fn first_child(launcher: &mut Child, log: &Path) -> Result<(ProcessId, ProcessId)> {
    let pid = i32::try_from(launcher.id()).unwrap_or_default();
    let end = Instant::now() + PATIENCE;
    loop {
        let unshare = ProcessId::of(pid);
        let children = unshare.map(ProcessId::children).unwrap_or_default();
        let init = children.into_iter().find(|p| p.name() == "kilonova-lab");
        if let Some(found) = unshare.zip(init) {
            return Ok(found);
        }
        let status = launcher.try_wait().ok().flatten().map(|s| s.to_string());
        if status.is_some() || Instant::now() >= end {
            let status = status.unwrap_or_else(|| "it hangs".to_owned());
            return Err(Error::EndedEarly {
                name: "unshare".to_owned(),
                status,
                log: fs::read_to_string(log).unwrap_or_default(),
            });
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// What `kilonova-lab init` does: never returns while the lab lives.
///
/// # Errors
/// When it cannot prepare itself; then there is no lab.
pub fn run(remove: &Path) -> Result<()> {
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children
        .thread_block()
        .map_err(Error::system("block SIGCHLD"))?;
    let remove = remove.to_path_buf();
    thread::spawn(move || {
        if !told_to_stay() {
            end_lab(&remove);
        }
    });
    loop {
        children.wait().map_err(Error::system("wait for SIGCHLD"))?;
        reap();
    }
}

/// Reads the pipe: true when we are let go, false when it closed without a word.
fn told_to_stay() -> bool {
    let mut line = String::new();
    matches!(io::stdin().lock().read_line(&mut line), Ok(length) if length > 0 && line.trim() == DETACH)
}

fn reap() {
    while !matches!(
        waitpid(None, Some(WaitPidFlag::WNOHANG)),
        Err(_) | Ok(WaitStatus::StillAlive)
    ) {}
}

/// Kills every process of the lab, then removes its directory, then ends.
fn end_lab(dir: &Path) {
    // To all of this process-id namespace but the caller (kill(2)); ESRCH: there is none.
    while !matches!(kill(Pid::from_raw(-1), Signal::SIGKILL), Err(Errno::ESRCH)) && others_live() {
        thread::sleep(Duration::from_millis(5));
    }
    let code = match fs::remove_dir_all(dir) {
        Ok(()) => 0,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(_) => 1,
    };
    std::process::exit(code);
}

/// Whether a process of the lab besides this one still runs.
fn others_live() -> bool {
    let Ok(entries) = fs::read_dir("/proc") else {
        return false;
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    pids.filter(|pid| *pid != 1)
        .filter_map(ProcessId::of)
        .any(ProcessId::is_alive)
}
