//! What is around the nodes: hosts and services that tell each client who it seems to be.

use std::{
    io::Write as _,
    net::{Ipv4Addr, TcpListener},
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

/// Makes the world, once: the addresses beyond the nodes, who listens there and on the nodes, and the `NetworkClass`
/// `narrow`.
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
