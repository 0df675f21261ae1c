//! Frames by hand: what a guest that lies sends, and what another one sees.

use super::within;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// To everybody.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// A socket that sends and receives whole frames at a guest's interface.
pub struct Wire {
    socket: OwnedFd,
    link: LinkAddr,
}

impl Wire {
    /// At the guest in this netns.
    pub fn at(netns: &str) -> Self {
        within(netns, || {
            let link = getifaddrs()
                .unwrap()
                .filter(|interface| interface.interface_name == "eth0")
                .find_map(|interface| interface.address?.as_link_addr().copied())
                .unwrap();
            let socket = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::empty(),
                SockProtocol::EthAll,
            )
            .unwrap();
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(50)).unwrap();
            Self { socket, link }
        })
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) {
        let sent = sendto(
            self.socket.as_raw_fd(),
            frame,
            &self.link,
            MsgFlags::empty(),
        );
        assert_eq!(sent.unwrap(), frame.len());
    }

    /// Whether a frame with these bytes in it comes within this time.
    pub fn sees(&self, mark: &[u8], within: Duration) -> bool {
        let since = Instant::now();
        let mut buffer = [0; 2048];
        while since.elapsed() < within {
            let Ok(length) = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) else {
                continue;
            };
            if buffer[..length]
                .windows(mark.len())
                .any(|part| part == mark)
            {
                return true;
            }
        }
        false
    }
}

impl Wire {
    /// The numbers of the frames marked `mark-NN` that come, in their order, up to this one.
    pub fn marks_until(&self, last: u8) -> Vec<u8> {
        let since = Instant::now();
        let mut buffer = [0; 2048];
        let mut marks = Vec::new();
        while !marks.contains(&last) && since.elapsed() < super::PATIENCE {
            let Ok(length) = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) else {
                continue;
            };
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let number = text.split_once("mark-").and_then(|(_, rest)| rest.get(..2));
            marks.extend(number.and_then(|number| number.parse::<u8>().ok()));
        }
        marks
    }
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(to);
    frame.extend(from);
    frame.extend(kind.to_be_bytes());
    frame.extend(body);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// An ARP frame: `operation` 1 asks, 2 answers.
pub fn arp(from: [u8; 6], operation: u16, sender: ([u8; 6], [u8; 4]), mark: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4];
    body.extend(operation.to_be_bytes());
    body.extend(sender.0);
    body.extend(sender.1);
    body.extend([0; 6]);
    body.extend([10, 0, 0, 250]);
    body.extend(mark);
    ethernet(BROADCAST, from, 0x0806, &body)
}

/// A UDP packet in IPv4, broadcast.
pub fn udp(from: [u8; 6], source: [u8; 4], ports: (u16, u16), mark: &[u8]) -> Vec<u8> {
    ethernet(BROADCAST, from, 0x0800, &ipv4(source, ports, mark))
}

/// The same behind a tag of VLAN 100.
pub fn tagged_udp(from: [u8; 6], source: [u8; 4], ports: (u16, u16), mark: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 100, 8, 0];
    body.extend(ipv4(source, ports, mark));
    ethernet(BROADCAST, from, 0x8100, &body)
}

/// A frame of another kind.
pub fn other(to: [u8; 6], from: [u8; 6], kind: u16, mark: &[u8]) -> Vec<u8> {
    ethernet(to, from, kind, mark)
}

fn ipv4(source: [u8; 4], ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(28 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(source);
    packet.extend([255, 255, 255, 255]);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(ports.0.to_be_bytes());
    packet.extend(ports.1.to_be_bytes());
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
