//! Against libvirt's `test` driver, which lives in this process and keeps domains in memory. A
//! file of its own describes each test's node: `test:///default` is one for the whole process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::{Event, EventKind};
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

/// A node with these domains, running, alone in its file. The driver cannot start one paused, so
/// that what begins with that is tested against QEMU.
struct Node {
    libvirt: Libvirt,
    _file: tempfile::NamedTempFile,
}

async fn node(domains: &str) -> Node {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("<node>{domains}</node>")).unwrap();
    let uri = format!("test://{}", file.path().display());
    let libvirt = Libvirt::connect(&uri, Limits::default()).await.unwrap();
    Node {
        libvirt,
        _file: file,
    }
}

#[tokio::test]
async fn a_definition_is_seen() {
    let node = node("").await;
    let libvirt = &node.libvirt;
    assert_eq!(libvirt.get(UUID).await.unwrap(), None);
    assert_eq!(libvirt.list().await.unwrap(), []);
    libvirt.define(&xml(UUID)).await.unwrap();
    let seen = libvirt.get(UUID).await.unwrap().unwrap();
    assert_eq!(libvirt.list().await.unwrap(), std::slice::from_ref(&seen));
    assert_eq!((seen.uuid.as_str(), seen.vcpus), (UUID, 3));
    assert_eq!(seen.memory_bytes, 64 << 20);
    assert_eq!((seen.state, seen.persistent), (LibvirtState::Shutoff, true));
    let metadata = seen.metadata.unwrap();
    assert!(metadata.contains("a&amp;&lt;b&gt;"), "{metadata}");
    for _ in 0..2 {
        libvirt.managed_save_remove(UUID).await.unwrap();
        libvirt.destroy(UUID).await.unwrap();
    }
}

#[tokio::test]
async fn each_verb_is_a_success_where_it_is_so_already() {
    let node = node(&xml(UUID)).await;
    let libvirt = &node.libvirt;
    for _ in 0..2 {
        libvirt.pause(UUID).await.unwrap();
        let seen = libvirt.get(UUID).await.unwrap().unwrap();
        let paused = (LibvirtState::Paused, StateReason::User);
        assert_eq!((seen.state, seen.reason), paused);
    }
    for _ in 0..2 {
        libvirt.resume(UUID).await.unwrap();
        let seen = libvirt.get(UUID).await.unwrap().unwrap();
        assert_eq!(seen.state, LibvirtState::Running);
    }
    let refused = libvirt.undefine(UUID).await.unwrap_err();
    assert!(
        matches!(refused, Error::Libvirt { code: 55, .. }),
        "{refused}"
    );
    for _ in 0..2 {
        libvirt.managed_save(UUID).await.unwrap();
        let seen = libvirt.list().await.unwrap().remove(0);
        assert_eq!(
            (seen.state, seen.managed_save),
            (LibvirtState::Shutoff, true)
        );
        assert_eq!(seen.reason, StateReason::Saved);
        libvirt.destroy(UUID).await.unwrap();
    }
    for _ in 0..2 {
        libvirt.managed_save_remove(UUID).await.unwrap();
        assert!(!libvirt.get(UUID).await.unwrap().unwrap().managed_save);
    }
    let off = libvirt.managed_save(UUID).await.unwrap_err();
    assert!(matches!(off, Error::Libvirt { .. }), "{off}");
    libvirt.pause(UUID).await.unwrap_err();
    libvirt.resume(UUID).await.unwrap_err();
}

#[tokio::test]
async fn says_what_is_wrong() {
    let node = node("").await;
    let libvirt = &node.libvirt;
    for uuid in [UUID, "no uuid", "", "a\0b"] {
        let gone = libvirt.start_paused(uuid).await.unwrap_err();
        assert_eq!(gone, Error::NoDomain { call: "start" }, "{uuid:?}");
        assert_eq!(libvirt.get(uuid).await.unwrap(), None);
    }
    let xml = libvirt.define("<domain").await.unwrap_err();
    assert!(
        matches!(xml, Error::Libvirt { call: "define", .. }),
        "{xml}"
    );
    let nul = libvirt.define("a\0b").await.unwrap_err();
    assert!(matches!(nul, Error::Unreadable { .. }), "{nul}");
    let nobody = Libvirt::connect("qemu+unix:///system?socket=/nonexistent", Limits::default());
    let dead = nobody.await.unwrap_err();
    assert!(matches!(dead, Error::Dead { .. }), "{dead}");
}

#[tokio::test]
async fn replaces_the_metadata_of_one_that_runs() {
    let node = node(&xml(UUID)).await;
    let libvirt = &node.libvirt;
    let element = ELEMENT.replace("a&amp;&lt;b&gt;", "other");
    libvirt.set_metadata(UUID, &element).await.unwrap();
    for _ in 0..2 {
        let seen = libvirt.get(UUID).await.unwrap().unwrap().metadata.unwrap();
        assert!(seen.contains("other") && !seen.contains("a&amp;"), "{seen}");
        libvirt.destroy(UUID).await.unwrap();
    }
}

#[tokio::test]
async fn tells_events() {
    // All connections to this node see the same domains, and those of other processes do not.
    let libvirt = Libvirt::connect("test:///default", Limits::default());
    let libvirt = libvirt.await.unwrap();
    let uuid = "7d6ff5cf-8ee1-4dcb-a0a2-f2c0ffee0002";
    let mut events = libvirt.events();
    assert_eq!(events.next().await, Some(Event::Reconnected));
    libvirt.define(&xml(uuid)).await.unwrap();
    let next = tokio::time::timeout(Duration::from_secs(20), events.next());
    let (uuid, kind) = (uuid.to_owned(), EventKind::Defined);
    assert_eq!(next.await.unwrap(), Some(Event::Domain { uuid, kind }));
    drop(libvirt);
    assert_eq!(events.next().await, None);
}
