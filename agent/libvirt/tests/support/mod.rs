//! A node with a libvirtd of its own, and guests of one sector.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use kilonova_agent_core::xml::{CacheMode, DomainXml, Interface, METADATA_NAMESPACE};
use kilonova_agent_libvirt::{Event, EventKind, Events, Libvirt, Limits};
use kilonova_crds::v1alpha1::VirtualizationType;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// For whatever is waited for here; the machine may be busy.
pub const LONG: Duration = Duration::from_mins(2);

/// A node. Its end is that of all that runs on it.
pub struct Node {
    pub directory: TempDir,
    process: Child,
}

impl Node {
    pub async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        // QEMU's user passes through it.
        Command::new("chmod")
            .arg("711")
            .arg(directory.path())
            .status()
            .unwrap();
        let process = Command::new("unshare")
            .args(["-n", "-m", "-p", "-f", "--kill-child", "--mount-proc"])
            .args([
                "--propagation",
                "private",
                "bash",
                "-c",
                include_str!("node.sh"),
                "node.sh",
            ])
            .arg(directory.path())
            .stderr(std::fs::File::create(directory.path().join("node.log")).unwrap())
            .spawn()
            .expect("unshare(1)");
        let mut node = Self { directory, process };
        let socket = node.path("sock/libvirt-sock");
        let end = Instant::now() + LONG;
        while !socket.exists() {
            let ended = node.process.try_wait().unwrap();
            let log = std::fs::read_to_string(node.path("node.log")).unwrap();
            let waiting = ended.is_none() && Instant::now() < end;
            assert!(waiting, "no libvirtd (are you root?): {log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        node
    }

    pub async fn connect(&self) -> Libvirt {
        self.connect_with(Limits::default()).await
    }

    pub async fn connect_with(&self, limits: Limits) -> Libvirt {
        let socket = self.path("sock/libvirt-sock");
        let uri = format!("qemu+unix:///system?socket={}", socket.display());
        let end = Instant::now() + LONG;
        loop {
            match Libvirt::connect(&uri, limits).await {
                Ok(libvirt) => return libvirt,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a command on the node.
    pub fn run(&self, script: &str) -> String {
        let output = Command::new("nsenter")
            .args([
                "-t",
                &self.init().to_string(),
                "-m",
                "-n",
                "-p",
                "bash",
                "-euc",
                script,
            ])
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The first process of the namespaces: the child of unshare(1).
    fn init(&self) -> i32 {
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        children.unwrap().trim().parse().unwrap()
    }

    /// Sends a signal to a guest's QEMU.
    pub fn signal_qemu(&self, guest: &Guest, signal: &str) {
        let name = &guest.xml.name;
        self.run(&format!(
            "kill -{signal} $(cat /run/libvirt/qemu/{name}.pid)"
        ));
    }

    /// Makes a guest with this program in its boot sector.
    pub fn guest(&self, index: u32, program: &[u8]) -> Guest {
        let uuid = format!("6f1c0a52-9d1e-4b57-8a53-0d8e35bf{index:04x}");
        let directory = self.path("guests").join(&uuid);
        std::fs::create_dir_all(&directory).unwrap();
        let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        let (raw, disk, iso) = (path("raw"), path("disk.qcow2"), path("config.iso"));
        let mut sectors = vec![0; 1 << 20];
        sectors[..program.len()].copy_from_slice(program);
        sectors[510..512].copy_from_slice(&[0x55, 0xaa]);
        std::fs::write(&raw, &sectors).unwrap();
        let convert = ["convert", "-f", "raw", "-O", "qcow2", &raw, &disk];
        assert!(
            Command::new("qemu-img")
                .args(convert)
                .status()
                .unwrap()
                .success()
        );
        let resize = ["resize", "-q", "-f", "qcow2", &disk, "1G"];
        assert!(
            Command::new("qemu-img")
                .args(resize)
                .status()
                .unwrap()
                .success()
        );
        std::fs::write(&iso, &sectors).unwrap();
        let xml = DomainXml {
            virtualization: VirtualizationType::Qemu,
            name: format!("guest-{index}"),
            uuid,
            title: "a/<b>&\"c'".to_owned(),
            metadata: format!(
                "<kilonova:o xmlns:kilonova='{METADATA_NAMESPACE}' a='&lt;&amp;&quot;'/>"
            ),
            vcpus: 1,
            memory_bytes: 64 << 20,
            machine: "q35".to_owned(),
            root_disk: disk,
            cache: CacheMode::Writeback,
            config_drive: iso,
            interfaces: Vec::new(),
            console_log: path("console.log"),
        };
        Guest { xml, directory }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It is gone once all in its PID namespace are, and unshare(1) with it.
        let init = nix::unistd::Pid::from_raw(self.init());
        let _ = nix::sys::signal::kill(init, nix::sys::signal::Signal::SIGKILL);
        let _ = self.process.wait();
    }
}

/// A guest, not defined yet.
pub struct Guest {
    pub xml: DomainXml,
    pub directory: PathBuf,
}

impl Guest {
    pub fn uuid(&self) -> &str {
        &self.xml.uuid
    }

    pub fn with_tap(mut self, tap: &str) -> Self {
        self.xml.interfaces.push(Interface {
            tap: tap.to_owned(),
            mac: "fa:16:3e:00:00:01".to_owned(),
            mtu: 1450,
        });
        self
    }

    /// Defines it and lets it run.
    pub async fn run(&self, libvirt: &Libvirt) {
        libvirt.define(&self.xml.to_xml().unwrap()).await.unwrap();
        libvirt.start_paused(self.uuid()).await.unwrap();
        libvirt.resume(self.uuid()).await.unwrap();
    }
}

/// Waits for an event of a domain.
pub async fn wait_for(events: &mut Events, uuid: &str, kind: EventKind) {
    let wanted = Event::Domain {
        uuid: uuid.to_owned(),
        kind,
    };
    wait_for_event(events, &wanted).await;
}

pub async fn wait_for_event(events: &mut Events, wanted: &Event) {
    let mut seen = Vec::new();
    loop {
        match tokio::time::timeout(LONG, events.next()).await {
            Ok(Some(event)) if event == *wanted => return,
            Ok(Some(event)) => seen.push(event),
            _ => unreachable!("{wanted:?} did not come, but {seen:?}"),
        }
    }
}
