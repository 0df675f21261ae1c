//! Against a real libvirtd and QEMU under emulation, on a node in namespaces of its own. As root.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use kilonova_agent_core::observed::{LibvirtState, StateReason};
use kilonova_agent_libvirt::{Error, Event, EventKind, Limits, StopReason};
use kilonova_crds::v1alpha1::VirtualizationType;
use std::time::{Duration, Instant};
use support::{LONG, Node, wait_for, wait_for_event};

/// Halts, and does nothing for ever: `hlt; jmp`.
const IDLE: &[u8] = &[0xf4, 0xeb, 0xfd];
/// Powers the machine off by `q35`'s power management register: `mov dx, 0x604; mov ax, 0x2000; out dx, ax`.
const POWEROFF: &[u8] = &[0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd];
/// Resets by the keyboard controller: `mov al, 0xfe; out 0x64, al`.
const REBOOT: &[u8] = &[0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd];
/// Writes 32 KiB after 32 KiB to its disk, by the firmware's extended write.
#[rustfmt::skip]
const WRITE: &[u8] = &[
    0x31, 0xc0,                         // 7c00  xor ax, ax
    0x8e, 0xd8,                         //       mov ds, ax
    0xbe, 0x20, 0x7c,                   // 7c04  mov si, 0x7c20
    0xb8, 0x00, 0x43,                   //       mov ax, 0x4300
    0xcd, 0x13,                         //       int 0x13
    0x66, 0x83, 0x06, 0x28, 0x7c, 0x40, //       add dword [0x7c28], 64
    0xeb, 0xf0,                         //       jmp 0x7c04
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0x10, 0, 64, 0, 0x00, 0x10, 0, 0,   // 7c20  64 sectors from 0:0x1000
    64, 0, 0, 0, 0, 0, 0, 0,            // 7c28  to sector 64
];

#[tokio::test]
async fn a_domain_lives_and_goes() {
    let node = Node::start().await;
    let libvirt = node.connect().await;
    let mut events = libvirt.events();
    assert_eq!(events.next().await, Some(Event::Reconnected));
    let guest = node.guest(1, IDLE).with_tap("kt0");
    let uuid = guest.uuid();

    libvirt.define(&guest.xml.to_xml().unwrap()).await.unwrap();
    wait_for(&mut events, uuid, EventKind::Defined).await;
    let seen = libvirt.get(uuid).await.unwrap().unwrap();
    assert_eq!(libvirt.list().await.unwrap(), std::slice::from_ref(&seen));
    assert_eq!((seen.state, seen.persistent), (LibvirtState::Shutoff, true));
    assert_eq!((seen.vcpus, seen.memory_bytes), (1, 64 << 20));
    let metadata = seen.metadata.unwrap();
    assert!(metadata.contains("a=\"&lt;&amp;&quot;\""), "{metadata}");

    for _ in 0..2 {
        libvirt.start_paused(uuid).await.unwrap();
        let seen = libvirt.get(uuid).await.unwrap().unwrap();
        assert_eq!(
            (seen.state, seen.reason),
            (LibvirtState::Paused, StateReason::User)
        );
    }
    wait_for(&mut events, uuid, EventKind::Started).await;
    let live = libvirt.xml(uuid).await.unwrap();
    assert!(live.contains("managed='no'"), "{live}");
    assert_eq!(live.matches("model='pcie-root-port'").count(), 16);
    assert!(
        live.contains("<title>a/&lt;b&gt;&amp;&quot;c&apos;</title>"),
        "{live}"
    );
    for _ in 0..2 {
        libvirt.resume(uuid).await.unwrap();
        assert_eq!(
            libvirt.get(uuid).await.unwrap().unwrap().state,
            LibvirtState::Running
        );
    }
    wait_for(&mut events, uuid, EventKind::Resumed).await;
    for _ in 0..2 {
        libvirt.pause(uuid).await.unwrap();
        assert_eq!(
            libvirt.get(uuid).await.unwrap().unwrap().state,
            LibvirtState::Paused
        );
    }
    wait_for(&mut events, uuid, EventKind::Paused { io_error: false }).await;
    // One that is halted cannot hear its power button.
    let deaf = libvirt.shutdown(uuid).await.unwrap_err();
    assert!(matches!(deaf, Error::Libvirt { code: 55, .. }), "{deaf}");
    let element = "<kilonova:o xmlns:kilonova='https://kilonova.dev/xmlns/instance/1' a='new'/>";
    for _ in 0..2 {
        libvirt.set_metadata(uuid, element).await.unwrap();
    }
    libvirt.undefine(uuid).await.unwrap_err();

    for _ in 0..2 {
        libvirt.destroy(uuid).await.unwrap();
        let seen = libvirt.get(uuid).await.unwrap().unwrap();
        let off = (LibvirtState::Shutoff, StateReason::Destroyed);
        assert_eq!((seen.state, seen.reason), off);
        assert!(seen.metadata.unwrap().contains("new"));
        libvirt.shutdown(uuid).await.unwrap();
    }
    let reason = StopReason::Destroyed;
    wait_for(&mut events, uuid, EventKind::Stopped { reason }).await;
    for _ in 0..2 {
        libvirt.undefine(uuid).await.unwrap();
        assert_eq!(libvirt.list().await.unwrap(), []);
    }
    wait_for(&mut events, uuid, EventKind::Undefined).await;
    libvirt.destroy(uuid).await.unwrap();
    // virtlogd kept the console beside the disk.
    assert!(guest.directory.join("console.log").exists());
}

#[tokio::test]
async fn memory_is_saved_and_comes_back() {
    let node = Node::start().await;
    let libvirt = node.connect().await;
    let mut events = libvirt.events();
    let guest = node.guest(1, IDLE);
    let uuid = guest.uuid();
    guest.run(&libvirt).await;
    for _ in 0..2 {
        libvirt.managed_save(uuid).await.unwrap();
        let seen = libvirt.list().await.unwrap().remove(0);
        assert_eq!(
            (seen.state, seen.managed_save),
            (LibvirtState::Shutoff, true)
        );
        assert_eq!(seen.reason, StateReason::Saved);
    }
    let reason = StopReason::Saved;
    wait_for(&mut events, uuid, EventKind::Stopped { reason }).await;
    libvirt.start_paused(uuid).await.unwrap();
    let seen = libvirt.get(uuid).await.unwrap().unwrap();
    assert_eq!(
        (seen.state, seen.managed_save),
        (LibvirtState::Paused, false)
    );
    libvirt.resume(uuid).await.unwrap();

    libvirt.managed_save(uuid).await.unwrap();
    for _ in 0..2 {
        libvirt.managed_save_remove(uuid).await.unwrap();
        assert!(!libvirt.get(uuid).await.unwrap().unwrap().managed_save);
    }
    libvirt.managed_save(uuid).await.unwrap_err();
    libvirt.start_paused(uuid).await.unwrap();
    libvirt.managed_save(uuid).await.unwrap();
    libvirt.undefine(uuid).await.unwrap();
    assert_eq!(node.run("ls /var/lib/libvirt/qemu/save"), "");
}

#[tokio::test]
async fn tells_what_guests_do() {
    let node = Node::start().await;
    let libvirt = node.connect().await;
    let mut events = libvirt.events();

    let guest = node.guest(1, POWEROFF);
    guest.run(&libvirt).await;
    wait_for(&mut events, guest.uuid(), EventKind::ShuttingDown).await;
    let reason = StopReason::Shutdown;
    wait_for(&mut events, guest.uuid(), EventKind::Stopped { reason }).await;
    let seen = libvirt.get(guest.uuid()).await.unwrap().unwrap();
    assert_eq!(
        (seen.state, seen.reason),
        (LibvirtState::Shutoff, StateReason::GuestShutdown)
    );

    let guest = node.guest(2, REBOOT);
    guest.run(&libvirt).await;
    wait_for(&mut events, guest.uuid(), EventKind::Rebooted).await;
    assert_eq!(
        libvirt.get(guest.uuid()).await.unwrap().unwrap().state,
        LibvirtState::Running
    );
    libvirt.destroy(guest.uuid()).await.unwrap();

    let guest = node.guest(3, IDLE);
    guest.run(&libvirt).await;
    node.signal_qemu(&guest, "KILL");
    let reason = StopReason::Failed;
    wait_for(&mut events, guest.uuid(), EventKind::Stopped { reason }).await;
    let seen = libvirt.get(guest.uuid()).await.unwrap().unwrap();
    assert_eq!(
        (seen.state, seen.reason),
        (LibvirtState::Shutoff, StateReason::Failed)
    );
}

#[tokio::test]
async fn a_full_disk_halts_the_guest_until_there_is_room() {
    let node = Node::start().await;
    let libvirt = node.connect().await;
    let mut events = libvirt.events();
    let mut guest = node.guest(1, WRITE);
    let small = node.path("small");
    std::fs::create_dir(&small).unwrap();
    let (small, disk) = (small.to_str().unwrap(), guest.xml.root_disk.clone());
    node.run(&format!(
        "mount -t tmpfs -o size=4M,mode=711 tmpfs {small} && cp {disk} {small}/disk.qcow2"
    ));
    guest.xml.root_disk = format!("{small}/disk.qcow2");
    let uuid = guest.uuid().to_owned();
    guest.run(&libvirt).await;
    wait_for(&mut events, &uuid, EventKind::Paused { io_error: true }).await;
    let seen = libvirt.get(&uuid).await.unwrap().unwrap();
    assert_eq!(
        (seen.state, seen.reason),
        (LibvirtState::Paused, StateReason::IoError)
    );

    node.run(&format!("mount -o remount,size=8M {small}"));
    libvirt.resume(&uuid).await.unwrap();
    wait_for(&mut events, &uuid, EventKind::Resumed).await;
    // It went on writing from where it was.
    wait_for(&mut events, &uuid, EventKind::IoError).await;
}

#[tokio::test]
async fn a_hung_qemu_costs_nobody_else() {
    let node = Node::start().await;
    let limits = Limits {
        query: Duration::from_secs(10),
        change: Duration::from_secs(3),
        memory: Duration::from_secs(30),
        ..Limits::default()
    };
    let libvirt = node.connect_with(limits).await;
    let (hung, other) = (node.guest(1, IDLE), node.guest(2, IDLE));
    hung.run(&libvirt).await;
    node.signal_qemu(&hung, "STOP");
    let error = libvirt.pause(hung.uuid()).await.unwrap_err();
    assert!(
        matches!(error, Error::Timeout { call: "pause", .. }),
        "{error}"
    );
    // The call that hangs is not joined by a second one.
    let begun = Instant::now();
    let error = libvirt.destroy(hung.uuid()).await.unwrap_err();
    assert_eq!(error, Error::Busy { call: "destroy" });
    other.run(&libvirt).await;
    libvirt.destroy(other.uuid()).await.unwrap();
    let seen = libvirt.list().await.unwrap();
    assert_eq!(seen.len(), 2);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );

    node.signal_qemu(&hung, "CONT");
    let end = Instant::now() + LONG;
    while libvirt.destroy(hung.uuid()).await.is_err() {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_restart_of_libvirtd_is_survived() {
    let node = Node::start().await;
    let libvirt = node.connect().await;
    let mut events = libvirt.events();
    let (stays, dies) = (node.guest(1, IDLE), node.guest(2, IDLE));
    stays.run(&libvirt).await;
    dies.run(&libvirt).await;
    libvirt.list().await.unwrap();
    let pid = node.run("cat /run/libvirt/qemu/guest-1.pid");

    std::fs::write(node.path("hold"), "").unwrap();
    node.run(&format!(
        "kill -9 $(cat {})",
        node.path("libvirtd.pid").display()
    ));
    wait_for_event(&mut events, &Event::Disconnected).await;
    let dead = libvirt.list().await.unwrap_err();
    assert!(matches!(dead, Error::Dead { .. }), "{dead}");
    node.signal_qemu(&dies, "KILL");
    std::fs::remove_file(node.path("hold")).unwrap();
    for _ in 0..2 {
        wait_for_event(&mut events, &Event::Reconnected).await;
    }
    let seen = libvirt.get(stays.uuid()).await.unwrap().unwrap();
    assert_eq!(seen.state, LibvirtState::Running);
    let seen = libvirt.get(dies.uuid()).await.unwrap().unwrap();
    assert_eq!(seen.state, LibvirtState::Shutoff);
    assert_eq!(node.run("cat /run/libvirt/qemu/guest-1.pid"), pid);
    // Events come again.
    libvirt.destroy(stays.uuid()).await.unwrap();
    let reason = StopReason::Destroyed;
    wait_for(&mut events, stays.uuid(), EventKind::Stopped { reason }).await;
}

#[tokio::test]
async fn a_hung_libvirtd_is_noticed_and_comes_back() {
    let node = Node::start().await;
    let limits = Limits {
        query: Duration::from_secs(2),
        ..Limits::default()
    };
    let libvirt = node.connect_with(limits).await;
    let mut events = libvirt.events();
    libvirt.list().await.unwrap();
    let signal = |signal| {
        let pid = node.path("libvirtd.pid");
        node.run(&format!("kill -{signal} $(cat {})", pid.display()));
    };
    signal("STOP");
    let error = libvirt.list().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    // Nothing was closed, so that keepalive alone tells.
    wait_for_event(&mut events, &Event::Disconnected).await;
    signal("CONT");
    wait_for_event(&mut events, &Event::Reconnected).await;
    libvirt.list().await.unwrap();
}

#[tokio::test]
async fn says_what_the_node_is() {
    let node = Node::start().await;
    let libvirt = node.connect().await;
    let facts = libvirt.facts().await.unwrap();
    assert_eq!(facts.architecture, std::env::consts::ARCH);
    assert!(facts.vcpus > 0 && facts.memory_bytes > 1 << 30, "{facts:?}");
    let canonical = |machine: &String| machine.starts_with("pc-q35-");
    assert!(facts.machine_types.iter().any(canonical), "{facts:?}");
    assert!(!facts.machine_types.iter().any(|machine| machine == "q35"));
    assert!(!facts.cpu_model.is_empty() && !facts.hostname.is_empty());
    for version in [&facts.libvirt_version, &facts.qemu_version] {
        assert_eq!(version.split('.').count(), 3, "{version}");
    }
}

#[tokio::test]
async fn a_probe_tells_whether_guests_run() {
    let node = Node::start().await;
    let libvirt = node.connect().await;
    let facts = libvirt.facts().await.unwrap();
    let q35 = facts
        .machine_types
        .iter()
        .find(|m| m.starts_with("pc-q35-"));
    let (machine, directory) = (q35.unwrap(), node.directory.path());
    let emulated = VirtualizationType::Qemu;
    let runs = libvirt
        .runs_guests(emulated, machine, directory, LONG)
        .await;
    assert!(runs.unwrap());
    let nothing = libvirt
        .runs_guests(emulated, "no-such-machine", directory, LONG)
        .await;
    assert!(!nothing.unwrap());
    // Whatever the machine can do, it is an answer, and soon.
    let begun = Instant::now();
    let kvm = libvirt
        .runs_guests(VirtualizationType::Kvm, machine, directory, LONG)
        .await;
    assert!(kvm.is_ok(), "{kvm:?}");
    assert!(begun.elapsed() < LONG / 2);
    assert_eq!(libvirt.list().await.unwrap(), []);
    assert!(!directory.join("probe.raw").exists() && !directory.join("probe.out").exists());
}

#[tokio::test]
async fn two_hundred_domains_are_listed() {
    let node = Node::start().await;
    let libvirt = node.connect().await;
    let template = node.guest(1, IDLE).xml;
    for index in 0..200 {
        let mut xml = template.clone();
        xml.name = format!("many-{index}");
        xml.uuid = format!("6f1c0a52-9d1e-4b57-8a53-0d8e35be{index:04x}");
        libvirt.define(&xml.to_xml().unwrap()).await.unwrap();
    }
    let seen = libvirt.list().await.unwrap();
    assert_eq!(seen.len(), 200);
    assert!(seen.iter().all(|domain| domain.metadata.is_some()));
}
