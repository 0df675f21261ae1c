//! What is around the nodes: hosts and services that tell each client who it seems to be, and a physical network.

use std::{
    io::Write as _,
    net::{Ipv4Addr, TcpListener},
    process::Command,
    thread,
};

use kilonova_e2e::{cloud::Cloud, process::Namespaces, process::run};
use nix::sched::{CloneFlags, setns};
use serde_json::json;
use tokio::sync::OnceCell;

/// A host in the world (TEST-NET-3 of RFC 5737).
pub const WORLD: &str = "203.0.113.80";
/// A service of the cluster.
pub const SERVICE: &str = "10.96.0.99";
/// Where clouds have their metadata.
pub const LINK_LOCAL: &str = "169.254.169.254";
/// The port that all of them serve.
pub const PORT: u16 = 80;
/// The port at which a node's own service listens, as sshd does.
pub const NODE_PORT: u16 = 22;

/// A machine in the physical network `lan`.
pub const MACHINE: &str = "10.50.0.250";

/// Makes the world, once: the addresses beyond the nodes, who listens there and on the nodes, the physical network
/// `lan`, and the `NetworkClass` `narrow`.
pub async fn ensure(cloud: &Cloud) {
    static MADE: OnceCell<()> = OnceCell::const_new();
    MADE.get_or_init(|| make(cloud)).await;
}

async fn make(cloud: &Cloud) {
    let lab = cloud.lab();
    for address in [WORLD, SERVICE, LINK_LOCAL] {
        let mut command = lab.namespaces().command("ip");
        command.args(["addr", "add", address, "dev", "lo"]);
        run(command, "").await.unwrap().checked().unwrap();
    }
    lan(cloud).await;
    greet(lab.namespaces(), PORT);
    for node in lab.nodes() {
        greet(node.namespaces(), NODE_PORT);
    }
    let narrow = json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "NetworkClass",
        "metadata": {"name": "narrow"}, "spec": {"type": "local", "mtu": 1400},
    });
    cloud.apply(&[narrow]).await.unwrap();
}

/// A bridge with a NIC of each node in it.
async fn lan(cloud: &Cloud) {
    let lab = cloud.lab();
    let inside = |line: String| async move {
        // Other process ids than the machine's would not do: a NIC is handed over by one.
        let mut command = Command::new("nsenter");
        let target = lab.namespaces().target().pid.to_string();
        command.args(["--target", &target, "--net", "sh", "-ec", &line]);
        run(command, "").await.unwrap().checked().unwrap();
    };
    inside(format!(
        "ip link add lan type bridge; ip addr add {MACHINE}/24 dev lan; ip link set lan up"
    ))
    .await;
    for (index, node) in lab.nodes().iter().enumerate() {
        let holder = node.namespaces().target().pid;
        inside(format!(
            "ip link add lan{index} type veth peer name eth1 netns {holder}; ip link set lan{index} master lan up"
        ))
        .await;
        node.sh("ip link set eth1 up").await.unwrap();
    }
}

/// Tells each client at this port its own address, until the program ends.
fn greet(namespaces: &Namespaces, port: u16) {
    let network = namespaces.network().unwrap();
    // A socket stays in the netns in which it was made; the thread that enters it is given up.
    let listener = thread::spawn(move || {
        setns(network, CloneFlags::CLONE_NEWNET).unwrap();
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()
    });
    let listener = listener.join().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Ok(client) = stream.peer_addr() else {
                continue;
            };
            // Who hangs up early does not want to know.
            let _ = stream.write_all(client.ip().to_string().as_bytes());
        }
    });
}
