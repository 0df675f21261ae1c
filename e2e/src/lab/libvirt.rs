//! A node's libvirtd and virtlogd. Guests run on when either is killed.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::Mutex;

use super::network::script;
use crate::{
    Error, Result,
    process::{Launch, Namespaces, ProcessId, Service, run},
    repo,
    wait::{GENEROUS, wait_while},
};

/// One node at a time asks QEMU what it can do (4 to 8 s); the others of this program find the answer in the cache.
static PROBE: Mutex<()> = Mutex::const_new(());

/// How long an orderly end may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which of libvirt's daemons has its drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemons {
    /// libvirtd has all of them.
    Together,
    /// virtqemud has QEMU's, and there is no libvirtd: what others reach is virtqemud's socket. Where this machine has
    /// no virtqemud, libvirtd is behind it.
    Apart,
}

/// The two services of libvirt on a node.
#[derive(Debug)]
pub struct Libvirt {
    namespaces: Namespaces,
    /// libvirt's answers from QEMU on this node, as the machine sees them.
    capabilities: PathBuf,
    virtlogd: Service,
    libvirtd: Service,
}

impl Libvirt {
    pub(super) fn new(node: &str, namespaces: &Namespaces, dir: &Path, logs: &Path) -> Self {
        let service = |name: &str| {
            let launch = Launch::new(namespaces, name);
            Service::new(
                format!("{node} {name}"),
                logs.join(format!("{name}.log")),
                launch,
            )
        };
        Self {
            namespaces: namespaces.clone(),
            capabilities: dir.join("libvirt-cache/qemu/capabilities"),
            virtlogd: service("virtlogd"),
            libvirtd: service("libvirtd"),
        }
    }

    /// libvirtd's process, while it runs.
    #[must_use]
    pub fn process(&self) -> Option<ProcessId> {
        self.libvirtd.process()
    }

    /// What libvirtd and virtlogd wrote to standard error.
    #[must_use]
    pub fn log(&self) -> String {
        self.libvirtd.log() + &self.virtlogd.log()
    }

    /// Starts both, unless they run, and waits until libvirtd answers.
    ///
    /// # Errors
    /// When one ends at once, or libvirtd does not answer.
    pub async fn start(&self) -> Result<()> {
        self.virtlogd.start()?;
        let probe = PROBE.lock().await;
        restore(&cached(), &self.capabilities)?;
        self.libvirtd.start()?;
        wait_while(
            || self.libvirtd.check(),
            "libvirtd to answer",
            GENEROUS,
            || async {
                let mut command = self.namespaces.command("virsh");
                command.args([
                    "--quiet",
                    "--connect",
                    "qemu:///system",
                    "domcapabilities",
                    "--virttype",
                    "qemu",
                ]);
                let output = run(command, "").await.map_err(|error| error.to_string())?;
                output
                    .checked()
                    .map(drop)
                    .map_err(|error| error.to_string())
            },
        )
        .await?;
        restore(&self.capabilities, &cached())?;
        drop(probe);
        Ok(())
    }

    /// Ends libvirtd in an orderly way; guests run on.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&self) -> Result<()> {
        self.libvirtd.stop(PATIENCE)
    }

    /// Ends libvirtd, and starts libvirt with its daemons laid out like that; guests run on. `stop`, `kill` and `start`
    /// mean that daemon from then on.
    ///
    /// # Errors
    /// When one does not end, or the other does not answer.
    pub async fn lay_out(&self, daemons: Daemons) -> Result<()> {
        self.stop()?;
        let word = match daemons {
            Daemons::Together => "together",
            Daemons::Apart => "apart",
        };
        let (command, text) = (
            self.namespaces.command("bash"),
            include_str!("../../lab/split.sh"),
        );
        script(command, text, &[word.to_owned()]).await?;
        let own = daemons == Daemons::Apart && has_virtqemud();
        let program = if own { "virtqemud" } else { "libvirtd" };
        self.libvirtd
            .configure(|launch| launch.program = program.into());
        self.start().await
    }

    /// Kills libvirtd (SIGKILL); guests run on.
    ///
    /// # Errors
    /// When it does not go.
    pub fn kill(&self) -> Result<()> {
        self.libvirtd.kill()
    }
}

/// Whether this machine has libvirt's daemon of QEMU's driver.
fn has_virtqemud() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join("virtqemud").is_file())
}

/// Where the answers are kept between labs. libvirt itself sees whether they are still true (it compares the times of
/// QEMU and of its own program, and the kernel), so the place needs no name for a version.
fn cached() -> PathBuf {
    repo::cache().join("libvirt-capabilities")
}

/// Copies the files of one directory that the other does not have with this content.
fn restore(from: &Path, to: &Path) -> Result<()> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::file("read", from)(error)),
    };
    fs::create_dir_all(to).map_err(Error::file("create", to))?;
    for entry in entries {
        let source = entry.map_err(Error::file("read", from))?.path();
        let Some(name) = source
            .file_name()
            .filter(|n| !n.as_encoded_bytes().starts_with(b"."))
        else {
            continue;
        };
        let target = to.join(name);
        let text = fs::read(&source).map_err(Error::file("read", &source))?;
        if fs::read(&target).is_ok_and(|there| there == text) {
            continue;
        }
        // By rename: another program's lab may read it now.
        let part = to.join(format!(
            ".{}-{}",
            name.to_string_lossy(),
            std::process::id()
        ));
        fs::write(&part, text).map_err(Error::file("write", &part))?;
        fs::rename(&part, &target).map_err(Error::file("rename", &part))?;
    }
    Ok(())
}
