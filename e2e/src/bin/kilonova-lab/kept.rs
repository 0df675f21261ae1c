//! A lab that runs on for a person: where it is, whether it is there, how it is used and ended.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use kilonova_e2e::{
    Error, Result, build,
    lab::{self, Lab, Machine, Record},
    repo,
};
use nix::sys::signal::Signal;

use crate::progress::Progress;

/// How long the end of a lab may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// One such lab.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Its directory.
    pub(crate) dir: PathBuf,
    /// The kubeconfig that it leaves for the user's own shell.
    pub(crate) kubeconfig: PathBuf,
    /// What starts it.
    pub(crate) started_by: &'static str,
}

impl Kept {
    /// What `make up` starts.
    pub(crate) fn lab() -> Self {
        Self {
            dir: repo::up_dir(),
            kubeconfig: repo::up_kubeconfig(),
            started_by: "make up",
        }
    }

    /// What `make lab` starts.
    pub(crate) fn cluster() -> Self {
        Self {
            dir: repo::cluster_dir(),
            kubeconfig: repo::cluster_kubeconfig(),
            started_by: "make lab",
        }
    }

    /// The machines of its nodes; none when it is not up.
    pub(crate) fn machines(&self) -> Result<Vec<Machine>> {
        let record = Record::read(&self.dir)?.filter(Record::is_alive);
        Ok(record.map(Record::machines).unwrap_or_default())
    }

    /// Runs a command on a node of the lab, its input and output being ours.
    pub(crate) fn exec(&self, node: &str, command: &[String]) -> Result<ExitCode> {
        let machines = self.machines()?;
        let missing = || Error::Missing {
            what: format!("the node {node}"),
            remedy: format!("run `{}`", self.started_by),
        };
        let machine = machines
            .iter()
            .find(|m| m.name() == node)
            .ok_or_else(missing)?;
        let status = machine.command(command).status();
        let status = status.map_err(|source| Error::Start {
            program: "nsenter".to_owned(),
            source,
        })?;
        Ok(status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, ExitCode::from))
    }

    /// Whether it runs and answers.
    pub(crate) async fn is_up(&self) -> Result<bool> {
        if !self.kubeconfig.is_file()
            || !Record::read(&self.dir)?.is_some_and(|record| record.is_alive())
        {
            return Ok(false);
        }
        let client = lab::client_for(&self.kubeconfig, None).await?;
        Ok(
            tokio::time::timeout(Duration::from_secs(5), lab::ready(&client))
                .await
                .is_ok_and(|answer| answer.is_ok()),
        )
    }

    /// Says how it is used.
    pub(crate) fn tell(&self, progress: &Progress) {
        progress.say(&format!("export KUBECONFIG={}", self.kubeconfig.display()));
        if which("kubectl").is_none() {
            progress.say(&format!(
                "export PATH={}:$PATH    # kubectl",
                repo::work().join("bin").display()
            ));
        }
    }

    /// A kubeconfig that stands alone, for the user's own shell.
    pub(crate) async fn leave_kubeconfig(&self, lab: &Lab) -> Result<()> {
        let flat = lab
            .kubectl(["config", "view", "--raw", "--flatten"])
            .await?
            .checked()?;
        lab::write_private(&self.kubeconfig, &flat.stdout)?;
        build::ControlPlane::find()?
            .link_kubectl(&repo::work().join("bin"))
            .map(drop)
    }

    /// Ends the lab, whole or half, and removes what it left.
    pub(crate) fn remove(&self, progress: &Progress) -> Result<()> {
        if let Some(record) = Record::read(&self.dir)?.filter(Record::is_alive) {
            progress.say("ending the lab and all that runs in it");
            end(&record)?;
        }
        remove_if_there(fs::remove_file(&self.kubeconfig), &self.kubeconfig)?;
        remove_if_there(fs::remove_dir_all(&self.dir), &self.dir)
    }
}

/// A program in PATH.
fn which(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// One at a time; the lock goes with the process, however it ends.
pub(crate) fn lock(progress: &Progress) -> Result<File> {
    let work = repo::work();
    fs::create_dir_all(&work).map_err(Error::file("create", &work))?;
    let path = work.join("lock");
    let file = File::create(&path).map_err(Error::file("create", &path))?;
    if file.try_lock().is_err() {
        progress.say("waiting for another make up or make down");
        file.lock().map_err(Error::file("lock", &path))?;
    }
    Ok(file)
}

fn end(record: &Record) -> Result<()> {
    record.init.signal(Signal::SIGKILL)?;
    let end = Instant::now() + PATIENCE;
    // `unshare` goes when the first process and all others of its namespace are gone.
    while record.init.is_alive() || record.launcher.is_alive() {
        if Instant::now() >= end {
            let last = format!("processes {} and {}", record.init.pid, record.launcher.pid);
            return Err(Error::Timeout {
                what: "the lab to end".to_owned(),
                limit: PATIENCE,
                last,
            });
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn remove_if_there(result: io::Result<()>, path: &Path) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
