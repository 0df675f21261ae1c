//! Programs that run on, and that a test may stop, kill and start again.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use parking_lot::Mutex;

use super::{Launch, ProcessId};
use crate::{Error, Result};

/// How long a process may take to appear behind `nsenter`, and to go after SIGKILL.
const MOMENT: Duration = Duration::from_secs(20);

/// A named program of the lab: at most one process at a time, all of whose output goes to one log file.
#[derive(Debug)]
pub struct Service {
    name: String,
    log: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    launch: Launch,
    running: Option<Running>,
}

/// `nsenter`, and the program behind it.
#[derive(Debug)]
struct Running {
    wrapper: Child,
    process: ProcessId,
}

impl Running {
    fn continue_wrapper(&self) -> Result<()> {
        let wrapper = i32::try_from(self.wrapper.id()).ok();
        let wrapper = wrapper.and_then(ProcessId::of);
        wrapper.map_or(Ok(()), |wrapper| wrapper.signal(Signal::SIGCONT))
    }
}

/// A service that is stopped where it is; goes on when this is dropped.
#[derive(Debug)]
#[must_use = "dropped, it lets the service go on"]
pub struct Frozen<'a>(&'a Service);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.thaw() {
            tracing::warn!(service = self.0.name, %error, "stays frozen");
        }
    }
}

impl Service {
    /// A service that is not started yet.
    #[must_use]
    pub fn new(name: impl Into<String>, log: impl Into<PathBuf>, launch: Launch) -> Self {
        Self {
            name: name.into(),
            log: log.into(),
            state: Mutex::new(State {
                launch,
                running: None,
            }),
        }
    }

    /// Its name in the lab.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its output goes.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// All that it wrote, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Changes how it is started the next time.
    pub fn configure(&self, change: impl FnOnce(&mut Launch)) {
        change(&mut self.state.lock().launch);
    }

    /// Starts it, unless it runs.
    ///
    /// # Errors
    /// When it cannot be started or ends at once; the error shows the end of its log.
    pub fn start(&self) -> Result<ProcessId> {
        let mut state = self.state.lock();
        if let Some(running) = state.running.as_mut().filter(|r| r.process.is_alive()) {
            return Ok(running.process);
        }
        self.reap(&mut state);
        let running = self.spawn(&state.launch)?;
        let process = running.process;
        state.running = Some(running);
        Ok(process)
    }

    /// The process, while it runs.
    #[must_use]
    pub fn process(&self) -> Option<ProcessId> {
        self.state
            .lock()
            .running
            .as_ref()
            .map(|r| r.process)
            .filter(|p| p.is_alive())
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process().is_some()
    }

    /// Sends it a signal; nothing happens when it does not run.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process()
            .map_or(Ok(()), |process| process.signal(signal))
    }

    /// Stops it where it is (SIGSTOP), until the answer is dropped: with the test that fails, too.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn freeze(&self) -> Result<Frozen<'_>> {
        self.signal(Signal::SIGSTOP)?;
        Ok(Frozen(self))
    }

    /// Lets a stopped program go on, and nsenter, which stops itself when the program is stopped.
    fn thaw(&self) -> Result<()> {
        let state = self.state.lock();
        let Some(running) = state.running.as_ref() else {
            return Ok(());
        };
        running.process.signal(Signal::SIGCONT)?;
        running.continue_wrapper()
    }

    /// Kills it (SIGKILL) and waits until it is gone. What it started itself stays.
    ///
    /// # Errors
    /// When it does not go.
    pub fn kill(&self) -> Result<()> {
        self.end(Signal::SIGKILL, MOMENT)
    }

    /// Asks it to end (SIGTERM), and kills it when it has not ended within `patience`.
    ///
    /// # Errors
    /// When it does not go even then.
    pub fn stop(&self, patience: Duration) -> Result<()> {
        if self.end(Signal::SIGTERM, patience).is_ok() {
            return Ok(());
        }
        self.kill()
    }

    /// Fails when it has ended: for loops that wait for what it shall do.
    ///
    /// # Errors
    /// With the end of its log.
    pub fn check(&self) -> Result<()> {
        if self.is_running() {
            Ok(())
        } else {
            Err(self.ended_early("not running"))
        }
    }

    /// Lets it run on without us; it ends with its lab.
    pub fn detach(self) {
        std::mem::forget(self);
    }

    fn end(&self, signal: Signal, patience: Duration) -> Result<()> {
        let mut state = self.state.lock();
        let Some(process) = state.running.as_ref().map(|r| r.process) else {
            return Ok(());
        };
        process.signal(signal)?;
        let end = Instant::now() + patience;
        while process.is_alive() {
            if Instant::now() >= end {
                return Err(Error::Timeout {
                    what: format!("{} to end after {signal}", self.name),
                    limit: patience,
                    last: format!("process {} runs", process.pid),
                });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.reap(&mut state);
        Ok(())
    }

    /// Waits for the wrapper of a program that has ended.
    fn reap(&self, state: &mut State) {
        let Some(mut running) = state.running.take() else {
            return;
        };
        // One that is stopped would never see the program's end.
        if let Err(error) = running.continue_wrapper() {
            tracing::warn!(service = self.name, %error, "cannot continue nsenter");
        }
        if let Err(error) = running.wrapper.wait() {
            tracing::warn!(service = self.name, %error, "cannot wait for nsenter");
        }
    }

    fn spawn(&self, launch: &Launch) -> Result<Running> {
        let log = self.open_log()?;
        let stderr = log.try_clone().map_err(Error::file("open", &self.log))?;
        let program = launch.program.to_string_lossy();
        let inner = launch.namespaces.command(&program);
        // A session of its own: the Ctrl-C of a terminal is for us, and we end what is ours.
        let mut command = Command::new("setsid");
        command
            .arg(inner.get_program())
            .args(inner.get_args())
            .args(&launch.args);
        command.envs(launch.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log).stderr(stderr);
        let mut wrapper = command.spawn().map_err(|source| Error::Start {
            program: program.to_string(),
            source,
        })?;
        let process = self.behind(&mut wrapper)?;
        Ok(Running { wrapper, process })
    }

    fn open_log(&self) -> Result<File> {
        if let Some(dir) = self.log.parent() {
            fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(Error::file("open", &self.log))
    }

    /// Waits until the wrapper has become the program: `nsenter` forks, and the fork executes it.
    fn behind(&self, wrapper: &mut Child) -> Result<ProcessId> {
        let wrapper_pid = i32::try_from(wrapper.id()).unwrap_or_default();
        let end = Instant::now() + MOMENT;
        while Instant::now() < end {
            if let Ok(Some(status)) = wrapper.try_wait() {
                return Err(self.ended_early(&status.to_string()));
            }
            let children = ProcessId::of(wrapper_pid)
                .map(ProcessId::children)
                .unwrap_or_default();
            if let Some(process) = children
                .first()
                .filter(|p| !matches!(p.name().as_str(), "nsenter" | "setsid" | ""))
            {
                return Ok(*process);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(self.ended_early("nsenter hangs"))
    }

    fn ended_early(&self, status: &str) -> Error {
        Error::EndedEarly {
            name: self.name.clone(),
            status: status.to_owned(),
            log: tail(&self.log(), 20),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!(service = self.name, %error, "left behind");
        }
    }
}

/// The last lines of a text.
fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..)
        .unwrap_or_default()
        .join("\n")
}
