//! A node to try things on: net, mount and process namespaces of its own, a world behind it, and
//! guests at its Segments. All of it ends with the test's process.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking, and each test binary uses its part of this"
)]

pub mod frames;
pub mod guest;

use kilonova_agent_core::network::{
    Hostname, LinkName, Netns, PhysicalNetworks, PortDesired, SegmentDesired,
};
use kilonova_agent_network::{Network, NetworkOptions};
use kilonova_crds::names::short_hash;
use kilonova_crds::node::{SegmentNetwork, SegmentSpec, SegmentSubnet};
use kilonova_crds::v1alpha1::SegmentType;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the process that stands inside the node.
const INSIDE: &str = "KILONOVA_TEST_NODE";
/// The node's address towards the world.
pub const NODE: &str = "192.0.2.2";
/// The world's address.
pub const WORLD: &str = "192.0.2.1";
/// An address in the world that the node's options block.
pub const BLOCKED: &str = "203.0.113.7";
/// Another, that is blocked and allowed.
pub const ALLOWED: &str = "203.0.113.53";
/// What is waited for comes within this, or not at all.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test inside a node: this very test again, in namespaces of its own.
pub fn in_a_node(name: &str, test: impl AsyncFnOnce()) {
    if std::env::var_os(INSIDE).is_none() {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        let output = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork"])
            .args(["--kill-child", "--mount-proc"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(INSIDE, "1")
            .output()
            .expect("unshare");
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}:\n{said}{failed}");
        assert!(said.contains("1 passed"), "there is no test {name}");
        return;
    }
    set_up_node();
    on_a_runtime(test);
}

/// Runs something on a runtime as an agent has it.
pub fn on_a_runtime(work: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work());
}

/// Runs a program that must succeed, and gives what it wrote.
pub fn sh(line: &str) -> String {
    let (ok, text) = try_sh(line);
    assert!(ok, "{line}\n{text}");
    text
}

/// Runs a program; whether it succeeded, and what it wrote.
pub fn try_sh(line: &str) -> (bool, String) {
    let output = Command::new("sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

/// Puts a rule set in, in the node's netns.
pub fn nft(text: &str) {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
}

/// A Kubernetes node as it often is: bridged frames pass iptables, and FORWARD drops.
fn set_up_node() {
    sh("mount -t tmpfs tmpfs /run && mkdir -p /run/netns");
    sh("ip link set lo up && ip netns add world && ip -n world link set lo up");
    sh("ip link add eth0 type veth peer name eth0 netns world");
    sh(&format!(
        "ip addr add {NODE}/24 dev eth0 && ip link set eth0 up"
    ));
    sh(&format!(
        "ip -n world addr add {WORLD}/24 dev eth0 && ip -n world link set eth0 up"
    ));
    for address in [BLOCKED, ALLOWED] {
        sh(&format!("ip -n world addr add {address}/32 dev lo"));
    }
    sh(&format!("ip route add default via {WORLD}"));
    sh("for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 1 > $f; done");
    nft(
        "table ip filter {\n chain FORWARD {\n type filter hook forward priority 0; policy drop;\n counter\n }\n}\n",
    );
}

/// The agent's network, as an agent of this node makes it.
pub fn network() -> Network {
    Network::new(NetworkOptions {
        run_dir: "/run/kilonova".into(),
        transit_cidr: "100.127.0.0/16".parse().unwrap(),
        blocked: vec![
            "203.0.113.0/24".parse().unwrap(),
            "10.96.0.0/12".parse().unwrap(),
        ],
        allowed: vec![format!("{ALLOWED}/32").parse().unwrap()],
        physical_networks: PhysicalNetworks::new(&[
            "physnet1=nic1".parse().unwrap(),
            "management=eth0".parse().unwrap(),
        ])
        .unwrap(),
    })
    .unwrap()
}

/// The n-th Segment, 10.0.0.0/24, of a Network of its own.
pub fn segment_spec(n: u8) -> SegmentSpec {
    SegmentSpec {
        network: SegmentNetwork {
            namespace: "team-a".to_owned(),
            name: format!("net-{n}"),
            uid: format!("{n:08x}-9d1e-4b57-8a53-0d8e35bfb0c1"),
        },
        type_: SegmentType::Local,
        id: None,
        physical_network: None,
        mtu: 1450,
        routed: true,
        dhcp: true,
        gateway_mac: format!("fa:16:3e:ff:00:{n:02x}"),
        subnets: vec![SegmentSubnet {
            cidr: "10.0.0.0/24".to_owned(),
            gateway: Some("10.0.0.1".to_owned()),
            dns: vec!["192.0.2.53".to_owned()],
            routes: Vec::new(),
        }],
    }
}

/// The n-th Segment, parsed.
pub fn segment(n: u8) -> SegmentDesired {
    SegmentDesired::from_spec(&segment_spec(n)).unwrap()
}

/// The n-th port of a Segment: fa:16:3e:00:00:n, 10.0.0.n, vm-n.
pub fn port(segment: &SegmentDesired, n: u8) -> PortDesired {
    let instance = short_hash(&format!("{} {n}", segment.network.uid), 32);
    PortDesired {
        tap: LinkName::tap(&instance, 0),
        segment: segment.netns.clone(),
        mac: format!("fa:16:3e:00:00:{n:02x}").parse().unwrap(),
        ips: vec![format!("10.0.0.{n}").parse().unwrap()],
        hostname: Hostname::new(&format!("vm-{n}")).unwrap(),
        mtu: segment.mtu,
        owner: format!("team-a/vm-{n} {instance} eth0"),
    }
}

/// Does something in a netns that has a name.
pub fn within<T: Send + 'static>(netns: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = File::open(format!("/run/netns/{netns}")).unwrap();
    let thread = std::thread::spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        work()
    });
    thread.join().unwrap()
}

/// Waits until something holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The process ids of the DHCP servers of a Segment.
pub fn dhcp_servers(netns: &Netns) -> Vec<u32> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let cmdline = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let cmdline = String::from_utf8_lossy(&cmdline).into_owned();
        if cmdline.starts_with("dnsmasq") && cmdline.contains(netns.as_str()) {
            found.extend(
                process
                    .file_name()
                    .to_str()
                    .and_then(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    found
}

/// Everything of a node that a Segment could leave behind, as text.
pub fn everything() -> String {
    sh(
        "ip -o link | cut -d@ -f1; ip -o -4 addr; ip route; ls /run/netns; nft list ruleset; \
        find /run/kilonova; grep -c netns /proc/mounts; pgrep dnsmasq || echo none",
    )
}
