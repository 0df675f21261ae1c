//! One node of a cluster: its files, its power switch, and commands on it.

use std::{
    fs::{self, File},
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;

use super::{network, options::ClusterNodeOptions};
use crate::{
    Error, Result,
    build::{images, node_programs},
    lab::{Access, Lab, Machine, SshKey, network as lab_network, quoted, write_private},
    process::{Launch, Service, run},
    repo,
    wait::wait_while,
};

/// The size of a node's disk; it takes room as it is written.
const DISK_BYTES: u64 = 16 << 30;

/// What is written into a node's log directory when everything on it has been started.
const UP: &str = "up";

/// A user-mode kernel takes no file for its console, but a pipe.
const PIPED: &str = r#""$0" "$@" | cat"#;

/// A node. Commands run on it over ssh, see [`Machine`].
#[derive(Debug)]
pub struct ClusterNode {
    machine: Machine,
    /// Counted from 1, as its ports, its address and its pods' range are.
    index: u8,
    logs: PathBuf,
    kernel: Service,
}

impl Deref for ClusterNode {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl ClusterNode {
    /// What commands run on.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(super) fn index(&self) -> u8 {
        self.index
    }

    /// Where its services' logs are on this machine: `kubelet.log`, `containerd.log`, `libvirtd.log`…
    #[must_use]
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Switches it on, unless it is.
    ///
    /// # Errors
    /// When its kernel ends at once.
    pub fn boot(&self) -> Result<()> {
        let up = self.logs.join(UP);
        if !self.kernel.is_running() && up.exists() {
            fs::remove_file(&up).map_err(Error::file("remove", &up))?;
        }
        self.kernel.start().map(drop)
    }

    /// Cuts its power: nothing of it has time to say or to write anything.
    ///
    /// # Errors
    /// When the kernel's processes do not go.
    pub fn power_cut(&self) -> Result<()> {
        let Some(shell) = self.kernel.process() else {
            return Ok(());
        };
        // All of them are known before the first goes: those of the node's own processes lose their parent with it.
        for process in shell.descendants() {
            process.signal(Signal::SIGKILL)?;
        }
        self.kernel.kill()
    }

    /// Fails when it has no power, with the end of its console.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self) -> Result<()> {
        self.kernel.check()
    }

    /// Kills a program on it (SIGKILL), by its exact name.
    ///
    /// # Errors
    /// When there is none.
    pub async fn kill(&self, name: &str) -> Result<()> {
        self.exec(["pkill", "-KILL", "-x", name])
            .await?
            .checked()
            .map(drop)
    }

    /// Gives it container images out of an archive.
    ///
    /// # Errors
    /// When containerd refuses.
    pub async fn import(&self, archive: &Path) -> Result<()> {
        let ctr = node_programs::find()?.join("ctr").display().to_string();
        let archive = archive.display().to_string();
        let import = [
            &ctr, "-n", "k8s.io", "images", "import", "--local", &archive,
        ];
        self.exec(import).await?.checked().map(drop)
    }

    /// Waits until everything on it has been started.
    pub(super) async fn until_up(&self, limit: Duration) -> Result<()> {
        let up = self.logs.join(UP);
        let what = format!("{} to boot", self.name());
        wait_while(
            || self.check(),
            what,
            limit,
            || async {
                if up.exists() {
                    Ok(())
                } else {
                    Err(format!("see {}", self.logs.display()))
                }
            },
        )
        .await
    }

    pub(super) fn detach(self) {
        self.kernel.detach();
    }
}

/// What nodes are made from.
pub(super) struct Plan<'a> {
    pub(super) lab: &'a Lab,
    pub(super) kernel: &'a Path,
    pub(super) programs: &'a Path,
    pub(super) key: &'a SshKey,
    pub(super) images: &'a [PathBuf],
    pub(super) count: usize,
    /// Whether it is a node of the cluster, or a machine beside it.
    pub(super) kubelet: bool,
}

impl Plan<'_> {
    /// Makes a node and switches it on. `index` counts from 0.
    pub(super) async fn node(
        &self,
        index: u8,
        options: &ClusterNodeOptions,
    ) -> Result<ClusterNode> {
        let dir = self.lab.dir().join("nodes").join(&options.name);
        let logs = self.lab.dir().join("logs").join(&options.name);
        for dir in [&dir, &logs] {
            fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        }
        disk(&dir.join("disk.img")).await?;
        if self.kubelet {
            self.lab
                .kubelet_files(&options.name, &dir.join("kubernetes"))?;
        }
        let authorized = dir.join("authorized_keys");
        write_private(&authorized, &format!("{}\n", self.key.public))?;
        let environment = self.environment(index, options, &logs)?;
        write_private(&dir.join("node.env"), &environment)?;
        let access = Access::Ssh {
            lab: self.lab.process(),
            key: self.key.private.clone(),
        };
        let address = lab_network::node_address(index);
        let node = ClusterNode {
            machine: Machine::new(options.name.clone(), address, access),
            index: index + 1,
            kernel: self.power(index + 1, options, &dir, &logs),
            logs,
        };
        node.boot()?;
        Ok(node)
    }

    /// What `init.sh` is told.
    fn environment(&self, index: u8, options: &ClusterNodeOptions, logs: &Path) -> Result<String> {
        let address = lab_network::node_address(index);
        let [a, b, c, _] = address.octets();
        let labels: Vec<_> = options
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let pause = images::pause()?;
        let images: Vec<_> = std::iter::once(&pause)
            .chain(self.images)
            .map(|path| path.display().to_string())
            .collect();
        let scripts = repo::root().join("e2e/cluster");
        let values = [
            ("NAME", options.name.clone()),
            ("INDEX", (index + 1).to_string()),
            ("NODES", self.count.to_string()),
            ("ADDRESS", address.to_string()),
            ("GATEWAY", lab_network::CONTROL_PLANE.to_string()),
            ("PEERS", format!("{a}.{b}.{c}")),
            ("PODS", network::PODS.to_owned()),
            ("LABELS", labels.join(",")),
            ("KUBELET", u8::from(self.kubelet).to_string()),
            ("LIBVIRT", u8::from(options.libvirt).to_string()),
            ("IMAGES", images.join(" ")),
            ("PROGRAMS", self.programs.display().to_string()),
            ("SCRIPTS", scripts.display().to_string()),
            ("LOGS", logs.display().to_string()),
        ];
        let lines = values.map(|(name, value)| format!("{name}={}\n", quoted(&value)));
        Ok(lines.concat())
    }

    /// The node's kernel, not started.
    fn power(&self, index: u8, options: &ClusterNodeOptions, dir: &Path, logs: &Path) -> Service {
        let init = repo::root().join("e2e/cluster/init.sh");
        let nic = |number: u8, port: &str| {
            format!("vec{number}:transport=tap,ifname={port},depth=128,gro=0")
        };
        let args = [
            format!("mem={}M", options.memory_mib),
            format!("umid={}", options.name),
            format!("uml_dir={}/", dir.display()),
            "root=/dev/root".to_owned(),
            "rootfstype=hostfs".to_owned(),
            "rootflags=/".to_owned(),
            "ro".to_owned(),
            format!("init={}", init.display()),
            format!("NODE_DIR={}", dir.display()),
            format!("ubda={}", dir.join("disk.img").display()),
            nic(0, &network::port(index)),
            nic(1, &network::trunk_port(index)),
            "con=null".to_owned(),
            "con0=null,fd:1".to_owned(),
            "panic=1".to_owned(),
            "quiet".to_owned(),
        ];
        let launch = Launch::new(self.lab.namespaces(), "bash")
            .args(["-c", PIPED])
            .args([self.kernel])
            .args(args)
            // Where the node's memory is: a file that nobody sees.
            .env("TMPDIR", network::MEMORY);
        let name = format!("{} (the node's kernel)", options.name);
        Service::new(name, logs.join("console.log"), launch)
    }
}

/// Makes an empty disk with a file system.
async fn disk(path: &Path) -> Result<()> {
    let file = File::create(path).map_err(Error::file("create", path))?;
    file.set_len(DISK_BYTES)
        .map_err(Error::file("size", path))?;
    let mut command = Command::new("mkfs.ext4");
    command.args(["-q", "-F"]).arg(path);
    run(command, "").await?.checked().map(drop)
}
