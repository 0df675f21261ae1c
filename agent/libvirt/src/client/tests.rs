//! Against libvirt's `test` driver, which lives in this process and keeps domains in memory. A
//! file of its own describes each test's node: `test:///default` is one for the whole process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::{Event, EventKind, StopReason};
use kilonova_agent_core::observed::{LibvirtState, StateReason};
use std::time::Duration;

const UUID: &str = "7d6ff5cf-8ee1-4dcb-a0a2-f2c0ffee0001";
const ELEMENT: &str =
    "<k:owner xmlns:k='https://kilonova.dev/xmlns/instance/1' name='a&amp;&lt;b&gt;'/>";

fn xml(uuid: &str) -> String {
    format!(
        "<domain type='test'><name>n-{uuid}</name><uuid>{uuid}</uuid><metadata>{ELEMENT}</metadata>\
         <memory unit='KiB'>65536</memory><vcpu>3</vcpu><os><type>hvm</type></os></domain>"
    )
}

/// A node with no domains, alone in its file.
struct Node {
    libvirt: Libvirt,
    _file: tempfile::NamedTempFile,
}

async fn node() -> Node {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "<node/>").unwrap();
    let uri = format!("test://{}", file.path().display());
    // Each connection to a file has domains of its own: so one connection, for one call at a time.
    let limits = Limits {
        query: Duration::from_secs(20),
        change: Duration::from_secs(20),
        ..Limits::default()
    };
    let libvirt = Libvirt::connect(&uri, limits).await.unwrap();
    Node {
        libvirt,
        _file: file,
    }
}

#[tokio::test]
async fn a_domain_lives_and_goes() {
    let node = node().await;
    let libvirt = &node.libvirt;
    assert_eq!(libvirt.get(UUID).await.unwrap(), None);
    libvirt.define(&xml(UUID)).await.unwrap();
    let seen = libvirt.get(UUID).await.unwrap().unwrap();
    assert_eq!(libvirt.list().await.unwrap(), [seen.clone()]);
    assert_eq!((seen.uuid.as_str(), seen.vcpus), (UUID, 3));
    assert_eq!(seen.memory_bytes, 64 << 20);
    assert_eq!((seen.state, seen.persistent), (LibvirtState::Shutoff, true));
    let metadata = seen.metadata.unwrap();
    assert!(metadata.contains("a&amp;&lt;b&gt;"), "{metadata}");

    // Each verb twice: the second time it is so already.
    for state in [StateReason::User, StateReason::User] {
        libvirt.start_paused(UUID).await.unwrap();
        libvirt.pause(UUID).await.unwrap();
        let seen = libvirt.get(UUID).await.unwrap().unwrap();
        assert_eq!((seen.state, seen.reason), (LibvirtState::Paused, state));
    }
    for _ in 0..2 {
        libvirt.resume(UUID).await.unwrap();
        let seen = libvirt.get(UUID).await.unwrap().unwrap();
        assert_eq!(seen.state, LibvirtState::Running);
    }
    let refused = libvirt.undefine(UUID).await.unwrap_err();
    assert!(matches!(refused, Error::Libvirt { code: 55, .. }), "{refused}");
    for _ in 0..2 {
        libvirt.destroy(UUID).await.unwrap();
        let seen = libvirt.get(UUID).await.unwrap().unwrap();
        assert_eq!(seen.state, LibvirtState::Shutoff);
        assert_eq!(seen.reason, StateReason::Destroyed);
    }
    for _ in 0..2 {
        libvirt.managed_save_remove(UUID).await.unwrap();
        libvirt.undefine(UUID).await.unwrap();
    }
    libvirt.destroy(UUID).await.unwrap();
    assert_eq!(libvirt.list().await.unwrap(), []);
}

#[tokio::test]
async fn saves_and_restores() {
    let node = node().await;
    let libvirt = &node.libvirt;
    libvirt.define(&xml(UUID)).await.unwrap();
    let off = libvirt.managed_save(UUID).await.unwrap_err();
    assert!(matches!(off, Error::Libvirt { .. }), "{off}");
    libvirt.start_paused(UUID).await.unwrap();
    libvirt.resume(UUID).await.unwrap();
    for _ in 0..2 {
        libvirt.managed_save(UUID).await.unwrap();
        let seen = libvirt.list().await.unwrap().remove(0);
        assert_eq!((seen.state, seen.managed_save), (LibvirtState::Shutoff, true));
        assert_eq!(seen.reason, StateReason::Saved);
    }
    libvirt.start_paused(UUID).await.unwrap();
    assert!(!libvirt.get(UUID).await.unwrap().unwrap().managed_save);
}

#[tokio::test]
async fn says_what_is_wrong() {
    let node = node().await;
    let libvirt = &node.libvirt;
    for uuid in [UUID, "no uuid", "", "a\0b"] {
        let gone = libvirt.start_paused(uuid).await.unwrap_err();
        assert_eq!(gone, Error::NoDomain { call: "start" }, "{uuid:?}");
        assert_eq!(libvirt.get(uuid).await.unwrap(), None);
    }
    let xml = libvirt.define("<domain").await.unwrap_err();
    assert!(matches!(xml, Error::Libvirt { call: "define", .. }), "{xml}");
    let nul = libvirt.define("a\0b").await.unwrap_err();
    assert!(matches!(nul, Error::Unreadable { .. }), "{nul}");
    let nobody = Libvirt::connect("qemu+unix:///system?socket=/nonexistent", Limits::default());
    let dead = nobody.await.unwrap_err();
    assert!(matches!(dead, Error::Dead { .. }), "{dead}");
}

#[tokio::test]
async fn replaces_the_metadata() {
    let node = node().await;
    let libvirt = &node.libvirt;
    libvirt.define(&xml(UUID)).await.unwrap();
    for _ in 0..2 {
        let element = ELEMENT.replace("a&amp;&lt;b&gt;", "other");
        libvirt.set_metadata(UUID, &element).await.unwrap();
        let seen = libvirt.get(UUID).await.unwrap().unwrap().metadata.unwrap();
        assert!(seen.contains("other") && !seen.contains("a&amp;"), "{seen}");
        libvirt.start_paused(UUID).await.unwrap();
    }
}

#[tokio::test]
async fn tells_events() {
    // The default node, because events come on a connection of their own.
    let libvirt = Libvirt::connect("test:///default", Limits::default())
        .await
        .unwrap();
    let uuid = "7d6ff5cf-8ee1-4dcb-a0a2-f2c0ffee0002";
    let mut events = libvirt.events();
    assert_eq!(events.next().await, Some(Event::Reconnected));
    libvirt.define(&xml(uuid)).await.unwrap();
    libvirt.start_paused(uuid).await.unwrap();
    libvirt.resume(uuid).await.unwrap();
    libvirt.pause(uuid).await.unwrap();
    libvirt.destroy(uuid).await.unwrap();
    libvirt.undefine(uuid).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&EventKind::Undefined) {
        let next = tokio::time::timeout(Duration::from_secs(20), events.next());
        match next.await.expect("an event").unwrap() {
            Event::Domain { uuid: of, kind } if of == uuid => seen.push(kind),
            other => panic!("{other:?}"),
        }
    }
    let reason = StopReason::Destroyed;
    let expected = [EventKind::Defined, EventKind::Started, EventKind::Resumed];
    assert_eq!(seen.iter().filter(|k| expected.contains(k)).count(), 3, "{seen:?}");
    assert!(seen.contains(&EventKind::Paused { io_error: false }), "{seen:?}");
    assert!(seen.contains(&EventKind::Stopped { reason }), "{seen:?}");
}
