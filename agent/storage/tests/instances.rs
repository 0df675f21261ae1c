//! Instances' directories, with the real `qemu-img` and ISO tool.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use kilonova_agent_core::guest::{self, Files};
use kilonova_agent_core::record::{LastStop, Owner, Record};
use kilonova_agent_storage::{CachedImage, Error};
use kilonova_crds::node::DomainSpec;
use std::os::unix::fs::PermissionsExt;
use support::{MIB, Node, Server, list, node, qcow2, request, run, sha256};

const UUID: &str = "6f1c0a52-9d1e-4b57-8a53-0d8e35bfb0c1";

async fn image(node: &Node) -> CachedImage {
    let file = qcow2(2);
    let server = Server::start(file.clone(), &[]).await;
    let request = request(&server.url, &sha256(&file));
    node.storage.images().ensure(&request).await.unwrap()
}

fn record() -> Record {
    let spec: DomainSpec = serde_json::from_value(serde_json::json!({
        "instance": {"namespace": "a", "namespaceUid": "n", "name": "i", "uid": "u"},
        "uuid": UUID, "vcpus": 1, "memory": "128Mi", "disk": "1Gi",
        "image": {"url": "http://x", "checksum": "sha256:", "format": "qcow2", "virtualSize": "1Gi"},
        "rootDisk": "Create", "guest": {"hostname": "i", "userData": "\u{1f980}"}, "power": "On",
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 60, "disposition": "Run",
    }))
    .unwrap();
    let owner = Owner::new("cluster", &spec.instance, UUID);
    serde_json::from_value(serde_json::json!({"owner": owner, "spec": spec})).unwrap()
}

#[tokio::test]
async fn a_root_disk_is_an_overlay_of_the_flavors_size() {
    let node = node();
    let image = image(&node).await;
    let instances = node.storage.instances();
    assert_eq!(instances.get(UUID).await.unwrap(), None);
    let small = instances.create_root_disk(UUID, &image, 63 * MIB).await;
    assert!(matches!(small, Err(Error::TooSmall { .. })), "{small:?}");
    assert_eq!(instances.get(UUID).await.unwrap(), None);

    instances
        .create_root_disk(UUID, &image, 1 << 30)
        .await
        .unwrap();
    let path = instances.root_disk(UUID).unwrap();
    let info = run(
        "qemu-img",
        &["info", "--output=json", path.to_str().unwrap()],
    );
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["virtual-size"], 1 << 30);
    assert_eq!(info["format"], "qcow2");
    assert_eq!(info["backing-filename"], image.path.to_str().unwrap());
    assert_eq!(info["backing-filename-format"], "qcow2");
    let seen = instances.get(UUID).await.unwrap().unwrap();
    let disk = seen.disk.unwrap();
    assert_eq!(disk.virtual_size_bytes, 1 << 30);
    assert!(disk.allocated_bytes < MIB, "{disk:?}");
    assert_eq!(
        disk.backing.unwrap(),
        image.path.file_name().unwrap().to_str().unwrap()
    );

    // What is there is never made anew.
    std::fs::write(&path, "a guest's data").unwrap();
    instances
        .create_root_disk(UUID, &image, 1 << 30)
        .await
        .unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"a guest's data");
    assert_eq!(list(path.parent().unwrap()), ["disk.qcow2"]);
    let seen = instances.list().await.unwrap().remove(0).disk.unwrap();
    assert_eq!((seen.virtual_size_bytes, seen.backing), (0, None));
}

#[tokio::test]
async fn a_crash_leaves_a_whole_disk_or_none() {
    let node = node();
    let image = image(&node).await;
    let instances = node.storage.instances();
    let path = instances.root_disk(UUID).unwrap();
    let directory = path.parent().unwrap();
    std::fs::create_dir(directory).unwrap();
    std::fs::write(directory.join("disk.new"), "half a disk").unwrap();
    assert_eq!(instances.list().await.unwrap()[0].disk, None);
    instances
        .create_root_disk(UUID, &image, 1 << 30)
        .await
        .unwrap();
    let disk = instances.list().await.unwrap().remove(0).disk.unwrap();
    assert_eq!(disk.virtual_size_bytes, 1 << 30);
    assert_eq!(list(directory), ["disk.qcow2"]);
}

#[tokio::test]
async fn a_base_that_went_makes_no_disk() {
    let node = node();
    let image = image(&node).await;
    std::fs::remove_file(&image.path).unwrap();
    let instances = node.storage.instances();
    let gone = instances.create_root_disk(UUID, &image, 1 << 30).await;
    assert!(
        matches!(
            gone,
            Err(Error::Io {
                operation: "use",
                ..
            })
        ),
        "{gone:?}"
    );
    assert!(!instances.root_disk(UUID).unwrap().exists());
}

#[tokio::test]
async fn a_config_drive_holds_the_files_and_their_digest() {
    let node = node();
    let instances = node.storage.instances();
    let hostile: Vec<u8> = (0..=255).collect();
    let mut files = Files::new();
    files.insert("openstack/latest/meta_data.json".to_owned(), b"{}".to_vec());
    files.insert("openstack/latest/user_data".to_owned(), hostile.clone());
    files.insert("ec2/2009-04-04/meta-data.json".to_owned(), b"[]".to_vec());
    assert!(
        instances
            .write_config_drive(UUID, files.clone(), &guest::digest(&files))
            .await
            .unwrap()
    );
    assert!(
        !instances
            .write_config_drive(UUID, files.clone(), &guest::digest(&files))
            .await
            .unwrap()
    );
    let drive = instances.config_drive(UUID).unwrap();
    let drive = drive.to_str().unwrap();
    let volume = run("isoinfo", &["-d", "-i", drive]);
    assert!(volume.contains("Volume id: config-2\n"), "{volume}");
    let out = node.directory.path().join("out");
    for (path, content) in &files {
        let from = format!("/{path}");
        let osirrox = ["-osirrox", "on", "-indev", drive, "-extract", &from];
        run(
            "xorriso",
            &[&osirrox[..], &[out.to_str().unwrap()]].concat(),
        );
        assert_eq!(&std::fs::read(&out).unwrap(), content, "{path}");
        std::fs::remove_file(&out).unwrap();
    }
    let seen = instances.get(UUID).await.unwrap().unwrap();
    assert_eq!(seen.config_drive, Some(guest::digest(&files)));
    assert_eq!(
        list(&node.directory.path().join("state/instances").join(UUID)),
        ["config.iso"]
    );
    let mode = std::fs::metadata(drive).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    files.insert("ec2/latest/user-data".to_owned(), hostile);
    assert!(
        instances
            .write_config_drive(UUID, files.clone(), &guest::digest(&files))
            .await
            .unwrap()
    );
    let seen = instances.get(UUID).await.unwrap().unwrap();
    assert_eq!(seen.config_drive, Some(guest::digest(&files)));
}

#[tokio::test]
async fn user_data_is_kept_for_root_alone_and_goes_with_the_instance() {
    let node = node();
    let instances = node.storage.instances();
    assert_eq!(instances.user_data(UUID).await.unwrap(), None);
    let data: Vec<u8> = (0..=255).collect();
    instances.keep_user_data(UUID, data.clone()).await.unwrap();
    assert_eq!(instances.user_data(UUID).await.unwrap(), Some(data));
    let directory = node.directory.path().join("state/instances").join(UUID);
    assert_eq!(list(&directory), ["user-data"]);
    let mode = std::fs::metadata(directory.join("user-data")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    instances.remove(UUID).await.unwrap();
    assert_eq!(instances.user_data(UUID).await.unwrap(), None);
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_config_drive_is_written_over_one_that_says_nothing() {
    let node = node();
    let instances = node.storage.instances();
    let files = Files::from([("a".to_owned(), b"b".to_vec())]);
    let drive = instances.config_drive(UUID).unwrap();
    std::fs::create_dir(drive.parent().unwrap()).unwrap();
    for half in [vec![], vec![0; 1 << 20]] {
        std::fs::write(&drive, half).unwrap();
        assert_eq!(instances.list().await.unwrap()[0].config_drive, None);
        assert!(
            instances
                .write_config_drive(UUID, files.clone(), &guest::digest(&files))
                .await
                .unwrap()
        );
    }
}

#[tokio::test]
async fn nothing_leads_out_of_the_directories() {
    let node = node();
    let instances = node.storage.instances();
    for path in ["../x", "/etc/x", "a/../../x", "", ".", "a/./../b"] {
        let files = Files::from([(path.to_owned(), Vec::new())]);
        let refused = instances
            .write_config_drive(UUID, files.clone(), &guest::digest(&files))
            .await;
        assert!(
            matches!(refused, Err(Error::ConfigPath(_))),
            "{path}: {refused:?}"
        );
    }
    let upper = UUID.to_uppercase();
    let braced = format!("{{{UUID}}}");
    for uuid in ["", "..", "../x", "/", "a\0b", &upper, &braced] {
        assert!(
            matches!(instances.root_disk(uuid), Err(Error::Uuid(_))),
            "{uuid:?}"
        );
        assert!(
            matches!(instances.remove(uuid).await, Err(Error::Uuid(_))),
            "{uuid:?}"
        );
        assert!(
            matches!(instances.get(uuid).await, Err(Error::Uuid(_))),
            "{uuid:?}"
        );
    }
}

#[tokio::test]
async fn a_record_comes_back_as_it_was() {
    let node = node();
    let instances = node.storage.instances();
    let mut record = record();
    for last_stop in [Some(LastStop::Guest), None, Some(LastStop::Crashed)] {
        record.last_stop = last_stop;
        instances.write_record(&record).await.unwrap();
        let seen = instances.list().await.unwrap();
        assert_eq!(seen[0].record.as_ref(), Some(&record));
        assert_eq!((seen.len(), seen[0].uuid.as_str()), (1, UUID));
    }
    let directory = node.directory.path().join("state/instances").join(UUID);
    assert_eq!(list(&directory), ["record.json"]);
    std::fs::write(directory.join("record.json"), "{").unwrap();
    assert_eq!(instances.get(UUID).await.unwrap().unwrap().record, None);
}

#[tokio::test]
async fn removing_leaves_nothing_even_after_a_crash() {
    let node = node();
    let instances = node.storage.instances();
    let root = node.directory.path().join("state/instances");
    for _ in 0..2 {
        instances.write_record(&record()).await.unwrap();
        instances.remove(UUID).await.unwrap();
        instances.remove(UUID).await.unwrap();
        assert_eq!(list(&root), [""; 0]);
    }
    // As a crash leaves it in the middle of that.
    let broken_off = root.join(format!("{UUID}.removed"));
    std::fs::create_dir_all(broken_off.join("deep")).unwrap();
    assert_eq!(instances.list().await.unwrap(), []);
    let node = support::node_in(node.directory);
    assert_eq!(list(&root), [""; 0]);
    drop(node);
}

#[tokio::test]
async fn a_large_disk_takes_no_more_room_than_a_small_one() {
    let node = node();
    let image = image(&node).await;
    let instances = node.storage.instances();
    instances
        .create_root_disk(UUID, &image, 1 << 40)
        .await
        .unwrap();
    let seen = instances.list().await.unwrap();
    let disk = seen[0].disk.as_ref().unwrap();
    assert!(disk.allocated_bytes < MIB, "{disk:?}");
}

#[tokio::test]
async fn qemus_user_can_pass_and_root_alone_can_list() {
    let node = node();
    let root = node.directory.path().join("state");
    node.storage
        .instances()
        .write_record(&record())
        .await
        .unwrap();
    for path in ["", "images", "instances", &format!("instances/{UUID}")] {
        let mode = std::fs::metadata(root.join(path))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o711, "{path}");
    }
    let record = root.join("instances").join(UUID).join("record.json");
    assert_eq!(
        std::fs::metadata(record).unwrap().permissions().mode() & 0o777,
        0o600
    );
}
