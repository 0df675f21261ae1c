//! The guest image, on a node of the lab, by hand.

use std::fs;

use kilonova_e2e::{
    build,
    lab::{Lab, LabOptions, SshKey},
    wait::{GENEROUS, wait_for},
};

#[tokio::test]
async fn a_guest_boots_from_its_config_drive_on_a_node() {
    let image = build::GuestImage::find().unwrap();
    let lab = Lab::start(LabOptions::bare("guest").nodes(1))
        .await
        .unwrap();
    let node = lab.node(0);
    let key = SshKey::at(&lab.dir().join("id")).await.unwrap();
    let config = node.state_dir().join("config/openstack/latest");
    fs::create_dir_all(&config).unwrap();
    let metadata = serde_json::json!({
        "uuid": "6ba7b810-9dad-41d1-80b4-00c04fd430c8", "name": "web-1", "hostname": "web-1", "availability_zone": "nova",
        "public_keys": {"ops": key.public}, "keys": [{"name": "ops", "type": "ssh", "data": key.public}],
    });
    fs::write(config.join("meta_data.json"), metadata.to_string()).unwrap();
    fs::write(
        config.join("user_data"),
        "#!/bin/sh\necho user-data-ran-on $(hostname)\n",
    )
    .unwrap();
    fs::copy(&image.path, node.state_dir().join("base.qcow2")).unwrap();
    fs::write(
        node.state_dir().join("guest.xml"),
        include_str!("guest.xml"),
    )
    .unwrap();
    node.sh(include_str!("guest.sh")).await.unwrap();

    let console = node.state_dir().join("console.log");
    let read = || fs::read_to_string(&console).unwrap_or_default();
    wait_for("the login prompt", GENEROUS, || async {
        if read().contains("web-1 login:") {
            Ok(())
        } else {
            Err(read())
        }
    })
    .await
    .unwrap();
    wait_for("user data to run", GENEROUS, || async {
        if read().contains("user-data-ran-on web-1") {
            Ok(())
        } else {
            Err(read())
        }
    })
    .await
    .unwrap();
    let ssh = |command: &'static str| node.ssh("kn-test", "10.0.0.5", &key.private, command);
    wait_for("ssh", GENEROUS, || async {
        ssh("hostname")
            .await
            .and_then(kilonova_e2e::process::Output::checked)
            .map_err(|e| e.to_string())
    })
    .await
    .unwrap();
    let answer = ssh("hostname; cat /sys/class/net/eth0/mtu; ip route; echo kept > ~/kept; sync")
        .await
        .unwrap()
        .checked()
        .unwrap();
    assert!(
        answer.stdout.starts_with("web-1\n1400\n"),
        "{}",
        answer.stdout
    );
    assert!(
        answer.stdout.contains("default via 10.0.0.1")
            && answer.stdout.contains("192.0.2.0/24 via 10.0.0.1"),
        "{}",
        answer.stdout
    );

    // A power cut after `sync` keeps the file; and the guest obeys its power button.
    node.virsh(["destroy", "web-1"]).await.unwrap();
    node.sh("ip netns exec kn-test ip link del kt1; bash /var/lib/kilonova/start.sh")
        .await
        .unwrap();
    wait_for("ssh after a power cut", GENEROUS, || async {
        ssh("cat ~/kept")
            .await
            .and_then(kilonova_e2e::process::Output::checked)
            .map_err(|e| e.to_string())
    })
    .await
    .unwrap();
    let once = read().matches("user-data-ran-on").count();
    assert_eq!(once, 1, "user data runs once for an instance");
    node.virsh(["shutdown", "web-1"]).await.unwrap();
    wait_for("the guest to shut down", GENEROUS, || async {
        let state = node
            .virsh(["domstate", "web-1"])
            .await
            .map_err(|e| e.to_string())?;
        if state.trim() == "shut off" {
            Ok(())
        } else {
            Err(state)
        }
    })
    .await
    .unwrap();
}
