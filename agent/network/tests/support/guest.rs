//! A guest: a netns behind a pair of links whose far end is plugged as a tap is.

use super::{sh, try_sh, within};
use kilonova_agent_core::network::PortDesired;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// How long a guest waits for an answer that should not come.
const GIVE_UP: Duration = Duration::from_millis(700);

/// A guest, by the name of its netns.
pub struct Guest {
    /// Its netns.
    pub netns: String,
    tap: String,
}

impl Guest {
    /// A guest whose port's link stands beside libvirtd, not plugged yet.
    pub fn at(port: &PortDesired) -> Self {
        let tap = port.tap.to_string();
        let netns = format!("guest-{tap}");
        sh(&format!(
            "ip netns add {netns} && ip -n {netns} link set lo up"
        ));
        sh(&format!(
            "ip link add {tap} mtu {mtu} type veth peer name eth0 address {mac} mtu {mtu} netns {netns}",
            mtu = port.mtu,
            mac = port.mac
        ));
        sh(&format!(
            "ip netns exec {netns} sysctl -qw net.ipv6.conf.all.disable_ipv6=1; ip -n {netns} link set eth0 up"
        ));
        Self { netns, tap }
    }

    /// Gives it an address by hand, and the gateway's.
    pub fn configure(&self, port: &PortDesired) {
        self.sh(&format!("ip addr add {}/24 dev eth0", port.ips[0]));
        self.sh("ip route add default via 10.0.0.1");
    }

    /// Runs a program in it that must succeed.
    pub fn sh(&self, line: &str) -> String {
        sh(&format!("ip netns exec {} {line}", self.netns))
    }

    /// Whether it gets an echo back.
    pub fn pings(&self, address: &str) -> bool {
        try_sh(&format!(
            "ip netns exec {} ping -c 3 -i 0.2 -w 2 -q {address}",
            self.netns
        ))
        .0
    }

    /// What DHCP tells it, by the names that udhcpc gives; nothing when nobody answers.
    pub fn dhcp(&self) -> BTreeMap<String, String> {
        self.dhcp_with("")
    }

    /// The same, of a client that says something more.
    pub fn dhcp_with(&self, more: &str) -> BTreeMap<String, String> {
        let script = "/run/udhcpc.sh";
        std::fs::write(script, "#!/bin/sh\n[ $1 != bound ] || env\n").unwrap();
        sh(&format!("chmod 755 {script}"));
        let (_, text) = try_sh(&format!(
            "ip netns exec {} busybox udhcpc -f -q -n -t 3 -T 1 -i eth0 -s {script} \
             -O mtu -O routes -O staticroutes -x hostname:liar {more} 2>/dev/null",
            self.netns
        ));
        text.lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    /// What a server at this address says; nothing when there is no way.
    pub fn asks(&self, address: &str) -> Option<String> {
        let address: SocketAddr = address.parse().unwrap();
        within(&self.netns, move || {
            let mut stream = TcpStream::connect_timeout(&address, GIVE_UP).ok()?;
            stream.set_read_timeout(Some(GIVE_UP)).ok()?;
            let mut said = String::new();
            stream.read_to_string(&mut said).ok()?;
            Some(said)
        })
    }
}

impl Guest {
    /// Whether a server at this address is refused at once, and not only not heard.
    pub fn is_refused(&self, address: &str) -> bool {
        let address: SocketAddr = address.parse().unwrap();
        within(&self.netns, move || {
            TcpStream::connect_timeout(&address, GIVE_UP)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        })
    }

    /// An open connection to a server that says everything back; started in the world.
    pub fn flow(&self, address: &str) -> Flow {
        let address: SocketAddr = address.parse().unwrap();
        let listener = within("world", move || TcpListener::bind(address).unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                stream.write_all(&byte).unwrap();
            }
        });
        let stream = within(&self.netns, move || TcpStream::connect(address).unwrap());
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        Flow(stream)
    }
}

/// An open connection.
pub struct Flow(TcpStream);

impl Flow {
    /// Whether what is sent comes back.
    pub fn echoes(&mut self) -> bool {
        let mut byte = [7];
        self.0.write_all(&byte).is_ok() && self.0.read_exact(&mut byte).is_ok()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The pair goes with whichever end is still there; a panic shows better without another.
        let _ = try_sh(&format!(
            "ip link del {}; ip netns del {}",
            self.tap, self.netns
        ));
    }
}

/// A server in a netns, or in the node's own, that tells each client who it seems to be.
pub fn serve(netns: Option<&str>, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let listener = match netns {
        Some(netns) => within(netns, move || TcpListener::bind(address).unwrap()),
        None => TcpListener::bind(address).unwrap(),
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let client = stream.peer_addr().unwrap().ip().to_string();
            let _ = stream.write_all(client.as_bytes());
        }
    });
}
