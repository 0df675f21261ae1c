//! A name whose server of names says something else each time, over the system's real resolver: what
//! was checked is what is connected to. One test, in namespaces of its own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kilonova_common::http_source::{AddressPolicy, FetchError, HttpSource, Location, Timeouts};
use kilonova_crds::v1alpha1::ImageKind;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Where tenants' images may come from, and where not.
const ALLOWED: [u8; 4] = [127, 0, 0, 2];
const REFUSED: [u8; 4] = [127, 0, 0, 1];
/// Ends a question: type and class (RFC 1035, 4.1.2).
const TYPE_A: [u8; 4] = [0, 1, 0, 1];

/// Answers for every name: nothing for IPv6, and for IPv4 what `addresses` has for the how-manieth
/// question, never to be kept.
fn name_server(socket: &UdpSocket, asked: &AtomicUsize, addresses: fn(usize) -> Vec<[u8; 4]>) {
    let mut buffer = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        // Behind the question there may be options.
        let name = buffer[12..length]
            .iter()
            .position(|byte| *byte == 0)
            .unwrap();
        let question = &buffer[12..12 + name + 5];
        let found = if question.ends_with(&TYPE_A) {
            addresses(asked.fetch_add(1, Ordering::Relaxed))
        } else {
            Vec::new()
        };
        let count = u8::try_from(found.len()).unwrap();
        let mut answer = buffer[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
        answer.extend(question);
        for address in found {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(address);
        }
        socket.send_to(&answer, from).unwrap();
    }
}

/// Answers every request with a few bytes, and closes; counts connections.
fn image_server(listener: &TcpListener, connected: &AtomicUsize) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        connected.fetch_add(1, Ordering::Relaxed);
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nabcd";
        stream.write_all(answer).unwrap();
    }
}

/// Namespaces of this thread, and of those that it starts, with a loopback and this resolver only.
fn alone(dir: &Path) {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
    let (none, private) = (None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC);
    mount(none, "/", none, private, none).unwrap();
    for (name, text) in [
        ("resolv.conf", "nameserver 127.0.0.1\n"),
        ("nsswitch.conf", "hosts: dns\n"),
    ] {
        let file = dir.join(name);
        std::fs::write(&file, text).unwrap();
        let target = Path::new("/etc").join(name);
        mount(Some(&file), &target, none, MsFlags::MS_BIND, none).unwrap();
    }
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    assert!(up.unwrap().success());
}

async fn ask(source: &HttpSource, kind: ImageKind) -> Result<u64, FetchError> {
    let url = "http://images.example.org:8080/disk.raw";
    Ok(source.head(Location { kind, url }).await?.file_size)
}

#[test]
fn what_was_checked_is_what_is_connected_to() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().to_owned();
    let tested = thread::spawn(move || {
        alone(&path);
        let asked = Arc::new(AtomicUsize::new(0));
        let names = UdpSocket::bind("127.0.0.1:53").unwrap();
        let count = asked.clone();
        thread::spawn(move || {
            name_server(&names, &count, |turn| match turn {
                0 | 2 => vec![ALLOWED],
                3 => vec![REFUSED, ALLOWED],
                _ => vec![REFUSED],
            });
        });
        let connected = [ALLOWED, REFUSED].map(|address| {
            let listener = TcpListener::bind((std::net::IpAddr::from(address), 8080)).unwrap();
            let connected = Arc::new(AtomicUsize::new(0));
            let count = connected.clone();
            thread::spawn(move || image_server(&listener, &count));
            connected
        });
        let connections = || {
            connected
                .each_ref()
                .map(|count| count.load(Ordering::Relaxed))
        };
        let policy = AddressPolicy {
            allow: vec!["127.0.0.2/32".parse().unwrap()],
            deny: Vec::new(),
        };
        let source = HttpSource::new(Timeouts::default(), policy).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async {
            for (turn, allowed) in [true, false, true, true, false].into_iter().enumerate() {
                let answer = ask(&source, ImageKind::Image).await;
                match (&answer, allowed) {
                    (Ok(4), true) | (Err(FetchError::Forbidden), false) => {}
                    _ => unreachable!("{turn}: {answer:?}"),
                }
                // Asked for once: nothing is looked up again between check and connection.
                assert_eq!(asked.load(Ordering::Relaxed), turn + 1);
            }
            assert_eq!(connections(), [3, 0]);
            // That the other server would have answered, an operator's image shows.
            assert_eq!(ask(&source, ImageKind::ClusterImage).await.unwrap(), 4);
            assert_eq!(connections(), [3, 1]);
        });
    });
    tested.join().unwrap();
}
