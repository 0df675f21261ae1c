//! `make setup`: what a fresh Debian or Ubuntu machine needs. Each step looks first, says what it does when there is
//! something to do, and does nothing when there is not.

use std::{
    ffi::OsString,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use kilonova_e2e::{
    Error, Result,
    build::{self, programs::PROFILE},
    repo,
};

use crate::progress::Progress;

/// What nodes with kubelets run, and what their kernel is built with, needs these as well.
const CLUSTER_PACKAGES: [&str; 9] = [
    "runc",
    "containernetworking-plugins",
    "conntrack",
    "socat",
    "iptables",
    "flex",
    "bison",
    "bc",
    "libelf-dev",
];

/// What runs, builds and is tested here needs these.
const PACKAGES: [&str; 35] = [
    // the node: libvirt, QEMU, networks
    "libvirt-daemon",
    "libvirt-daemon-driver-qemu",
    "libvirt-clients",
    "qemu-system-x86",
    "qemu-utils",
    "dnsmasq-base",
    "dnsmasq-utils",
    "nftables",
    "iproute2",
    "genisoimage",
    // building the agent
    "build-essential",
    "libvirt-dev",
    "pkg-config",
    // the guest image
    "busybox-static",
    "dropbear-bin",
    "syslinux",
    "syslinux-common",
    "mtools",
    "dosfstools",
    "e2fsprogs",
    "fdisk",
    "cpio",
    "kmod",
    // the demo and the tests
    "openssh-client",
    "iputils-ping",
    "arping",
    "tcpdump",
    "curl",
    "xorriso",
    "ca-certificates",
    "util-linux",
    "procps",
    "ethtool",
    // container images
    "buildah",
    "mmdebstrap",
];

/// All of it.
pub(crate) fn run(progress: &Progress) -> Result<()> {
    preflight()?;
    packages(progress, &PACKAGES)?;
    users(progress)?;
    let mount_point = Path::new("/var/lib/kilonova");
    fs::create_dir_all(mount_point).map_err(Error::file("create", mount_point))?;
    build::control_plane::ensure(|what| progress.say(what))?;
    build::helm::ensure(|what| progress.say(what))?;
    build::guest::ensure(|what| progress.say(what))?;
    programs(progress)?;
    progress.say("set up");
    Ok(())
}

/// What a cluster needs beside that.
pub(crate) fn cluster(progress: &Progress) -> Result<()> {
    run(progress)?;
    packages(progress, &CLUSTER_PACKAGES)?;
    build::node_kernel::ensure(|what| progress.say(what))?;
    build::node_programs::ensure(|what| progress.say(what)).map(drop)
}

/// Root, the distribution, the toolchains. A script, as `make` runs it before there is any program of ours.
fn preflight() -> Result<()> {
    visible(&mut Command::new(repo::root().join("e2e/preflight.sh")))
}

fn packages(progress: &Progress, wanted: &[&'static str]) -> Result<()> {
    let missing: Vec<_> = wanted
        .iter()
        .copied()
        .filter(|name| !is_installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    progress.say(&format!("installing packages: {}", missing.join(" ")));
    apt(&["update", "-qq"])?;
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    apt(&[&install[..], &missing].concat())
}

fn is_installed(name: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query
        .args(["--show", "--showformat", "${db:Status-Status}", name])
        .stderr(Stdio::null());
    query
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

fn apt(args: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null());
    visible(&mut command)
}

/// The user and group that QEMU runs as. The package libvirt-daemon-system would make them, and would bring systemd
/// units and a network of its own along; libvirtd ends at its start where they are missing.
fn users(progress: &Progress) -> Result<()> {
    let make = |kind: &str, name: &str, command: &str, args: &[&str]| {
        if exists(kind, name) {
            return Ok(());
        }
        progress.say(&format!("making the system {kind} {name}"));
        visible(Command::new(command).args(args).arg(name))
    };
    make("group", "kvm", "groupadd", &["--system"])?;
    make("group", "libvirt-qemu", "groupadd", &["--system"])?;
    let user = [
        "--system",
        "--gid",
        "kvm",
        "--groups",
        "libvirt-qemu",
        "--home-dir",
        "/var/lib/libvirt",
        "--no-create-home",
        "--shell",
        "/usr/sbin/nologin",
    ];
    make("passwd", "libvirt-qemu", "useradd", &user)
}

fn exists(database: &str, name: &str) -> bool {
    let status = Command::new("getent")
        .args([database, name])
        .stdout(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn programs(progress: &Progress) -> Result<()> {
    progress.say(&format!(
        "building kilonova-controllers and kilonova-agent ({PROFILE})"
    ));
    let mut cargo = Command::new("cargo");
    let profile = if PROFILE == "debug" { "dev" } else { PROFILE };
    cargo.args(["build", "--quiet", "--profile", profile]);
    cargo.args(["-p", "kilonova-controllers", "-p", "kilonova-agent"]);
    // What `cargo run` says of this program: build scripts that look at it would run again, and all that needs them
    // be built again, here and at the next build that is not ours.
    let inherited = std::env::vars_os().map(|(name, _)| name);
    let of_this = |name: &OsString| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    for name in inherited.filter(of_this) {
        cargo.env_remove(name);
    }
    visible(cargo.current_dir(repo::root()))
}

/// Runs a command whose messages go where ours go.
fn visible(command: &mut Command) -> Result<()> {
    let line = format!("{command:?}");
    let status = command.status().map_err(|source| Error::Start {
        program: line.clone(),
        source,
    })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: line,
        status: status.to_string(),
        stderr: "its messages are above".to_owned(),
    })
}
