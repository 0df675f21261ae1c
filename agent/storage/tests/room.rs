//! Which images go when there is no room. One test, on a small file system of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use kilonova_agent_storage::ImageError;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::path::Path;
use support::{MIB, Node, Server, node_in, qcow2, request, sha256};
use tempfile::TempDir;

/// A directory that something is mounted on.
struct Mounted(TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

/// A state directory on a file system of this size, which nobody else sees and which goes with the
/// test's threads.
fn small_node(mib: u64) -> (Node, Mounted) {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace (the tests run as root)");
    let (none, private) = (None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC);
    mount(none, "/", none, private, none).unwrap();
    let mounted = Mounted(TempDir::new().unwrap());
    let size = format!("size={mib}M");
    let (tmpfs, flags) = (Some("tmpfs"), MsFlags::empty());
    mount(tmpfs, mounted.0.path(), tmpfs, flags, Some(size.as_str())).unwrap();
    (node_in(TempDir::new_in(mounted.0.path()).unwrap()), mounted)
}

/// Asks for an image of so many MiB; the name of its file where it comes.
async fn ensure(node: &Node, mib: u64) -> Result<String, std::sync::Arc<ImageError>> {
    let file = qcow2(mib);
    let server = Server::start(file.clone(), &[]).await;
    let request = request(&server.url, &sha256(&file));
    let image = node.storage.images().ensure(&request).await?;
    Ok(name(&image.path))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_longest_unused_goes_and_what_a_disk_is_over_stays() {
    // 64 MiB stay in reserve.
    let (node, _mounted) = small_node(64 + 40);
    let used = ensure(&node, 8).await.unwrap();
    let images = node.storage.images();
    let uuid = "6f1c0a52-9d1e-4b57-8a53-0d8e35bfb0c1";
    let file = qcow2(8);
    let asked = request("http://127.0.0.1:1/", &sha256(&file));
    let base = images.find(&asked).await.unwrap().unwrap();
    let instances = node.storage.instances();
    instances
        .create_root_disk(uuid, &base, 64 * MIB)
        .await
        .unwrap();
    let old = ensure(&node, 9).await.unwrap();
    let newer = ensure(&node, 10).await.unwrap();
    // Asked for again: it is the newest now.
    assert_eq!(ensure(&node, 9).await.unwrap(), old);
    let part = format!("{}.qcow2.part", "sha256-00");
    std::fs::write(
        node.directory.path().join("state/images").join(&part),
        vec![1; 1024],
    )
    .unwrap();

    let newest = ensure(&node, 15).await.unwrap();
    let mut expected = [used.clone(), old, newest];
    expected.sort();
    assert_eq!(node.cached(), expected, "{newer} and the part are to go");

    let refused = ensure(&node, 60).await.unwrap_err();
    assert!(
        matches!(*refused, ImageError::NoSpace { .. }),
        "{refused:?}"
    );
    assert_eq!(node.cached(), std::slice::from_ref(&used));
    images.make_room(u64::MAX).await.unwrap();
    assert_eq!(node.cached(), [used]);
    instances.remove(uuid).await.unwrap();
    let free = images.make_room(u64::MAX).await.unwrap();
    assert_eq!(node.cached(), [""; 0]);
    let capacity = node.storage.capacity().unwrap();
    assert_eq!((capacity.total, capacity.free), (104 * MIB, free));
    assert!(free > 103 * MIB);

    // A disk that cannot be read may be over anything: nothing goes.
    let kept = ensure(&node, 8).await.unwrap();
    let disk = instances.root_disk(uuid).unwrap();
    std::fs::create_dir(disk.parent().unwrap()).unwrap();
    std::fs::write(disk, "?").unwrap();
    images.make_room(u64::MAX).await.unwrap_err();
    assert_eq!(node.cached(), [kept]);
}
