//! The lab itself: what all other tests stand on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]

use std::{fs, path::Path, time::Duration};

use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    core::v1::{ConfigMap, Node},
};
use kilonova_e2e::{
    build,
    lab::{Behaviour, ForwardPolicy, Lab, LabOptions, NodeOptions, SshKey, network},
    process::ProcessId,
    wait::{GENEROUS, wait_for},
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};

/// A control plane and two nodes, with nothing of Kilonova's.
fn two_bare_nodes(name: &str) -> LabOptions {
    let second = NodeOptions {
        forward: ForwardPolicy::DropIptables,
        ..NodeOptions::new("node-2")
    };
    LabOptions::bare(name)
        .node(NodeOptions::new("node-1"))
        .node(second)
}

#[tokio::test]
async fn a_lab_comes_up_serves_and_leaves_nothing() {
    let lab = Lab::start(two_bare_nodes("whole")).await.unwrap();
    eprintln!("{:?}", lab.timings());
    let client = lab.client().await.unwrap();
    let nodes = Api::<Node>::all(client.clone())
        .list(&ListParams::default())
        .await
        .unwrap();
    assert_eq!(nodes.items.len(), 2);
    assert!(
        nodes
            .items
            .iter()
            .all(|n| n.spec.as_ref().is_none_or(|s| s.taints.is_none())),
        "Nodes are not tainted"
    );

    // Controllers that the lab needs: the root certificate is published into a new namespace, and the namespace goes.
    lab.kubectl(["create", "namespace", "shop"])
        .await
        .unwrap()
        .checked()
        .unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client, "shop");
    wait_for(
        "the root certificate in the namespace",
        GENEROUS,
        || async {
            let found = maps
                .get_opt("kube-root-ca.crt")
                .await
                .map_err(|e| e.to_string())?;
            found.ok_or_else(|| "not there".to_owned())
        },
    )
    .await
    .unwrap();
    lab.kubectl(["delete", "namespace", "shop", "--timeout=60s"])
        .await
        .unwrap()
        .checked()
        .unwrap();

    nodes_are_machines_of_their_own(&lab).await;
    libvirtd_can_be_killed_and_comes_back(&lab).await;

    let (dir, init) = (lab.dir().to_path_buf(), lab.process());
    let everything = descendants(init);
    assert!(everything.len() > 8, "{everything:?}");
    drop(lab);
    assert!(!dir.exists(), "the directory is removed");
    assert!(
        !init.is_alive() && everything.iter().all(|p| !p.is_alive()),
        "all processes are gone"
    );
}

async fn nodes_are_machines_of_their_own(lab: &Lab) {
    let (one, two) = (lab.node(0), lab.node(1));
    assert_eq!(one.sh("hostname").await.unwrap().trim(), "node-1");
    let ping = ["ping", "-c", "1", "-W", "5", "10.99.0.12"];
    one.exec(ping).await.unwrap().checked().unwrap();
    two.exec([
        "ping",
        "-c",
        "1",
        "-W",
        "5",
        &network::CONTROL_PLANE.to_string(),
    ])
    .await
    .unwrap()
    .checked()
    .unwrap();
    assert!(
        one.sh("nft list chain inet hostfilter forward")
            .await
            .unwrap()
            .contains("policy drop")
    );
    assert!(
        two.sh("nft list chain ip filter FORWARD")
            .await
            .unwrap()
            .contains("policy drop")
    );
    let calls = "cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null || echo 1";
    assert_eq!(one.sh(calls).await.unwrap().trim(), "1");
    one.sh("ip netns add kn-test; ip netns exec kn-test ip link set lo up; ip netns del kn-test; touch /run/mine").await.unwrap();
    assert!(
        !two.exec(["test", "-e", "/run/mine"])
            .await
            .unwrap()
            .success()
    );
    assert!(!Path::new("/run/mine").exists());
}

async fn libvirtd_can_be_killed_and_comes_back(lab: &Lab) {
    let libvirt = lab.node(0).libvirt();
    let before = libvirt.process().expect("libvirtd runs");
    libvirt.kill().unwrap();
    assert!(libvirt.process().is_none());
    assert!(lab.node(0).virsh(["list"]).await.is_err());
    libvirt.start().await.unwrap();
    assert_ne!(libvirt.process(), Some(before));
    assert_eq!(
        lab.node(0)
            .virsh(["list", "--all", "--name"])
            .await
            .unwrap()
            .trim(),
        ""
    );
}

fn descendants(of: ProcessId) -> Vec<ProcessId> {
    let mut found = vec![of];
    let mut at = 0;
    while let Some(process) = found.get(at) {
        found.extend(process.children());
        at += 1;
    }
    // Those that were started from outside are no children of the first process: all with its process-id namespace.
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let ours = namespace(of.pid);
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_string_lossy().parse().ok());
    found.extend(
        pids.filter(|pid| ours.is_some() && namespace(*pid) == ours)
            .filter_map(ProcessId::of),
    );
    found
}

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
            .and_then(|o| o.checked())
            .map_err(|e| e.to_string())
    })
    .await
    .unwrap();
    let answer =
        ssh("hostname; cat /sys/class/net/eth0/mtu; ip route; echo kept > /root/kept; sync")
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
        ssh("cat /root/kept")
            .await
            .and_then(|o| o.checked())
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

#[tokio::test]
async fn the_charts_files_are_in_force_and_credentials_are_narrow() {
    let node = NodeOptions {
        agent: false,
        ..NodeOptions::new("node-1")
    };
    let lab = Lab::start(LabOptions::new("system").node(node).controllers(0))
        .await
        .unwrap();
    eprintln!("{:?}", lab.timings());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart");
    lab.kubectl(["apply", "-f", file])
        .await
        .unwrap()
        .checked()
        .unwrap();
    let again = lab
        .kubectl(["apply", "-f", file])
        .await
        .unwrap()
        .checked()
        .unwrap();
    assert!(
        again
            .stdout
            .lines()
            .all(|line| line.ends_with(" unchanged")),
        "{}",
        again.stdout
    );
    let finalizers = lab
        .kubectl([
            "get",
            "inst",
            "web-1",
            "-o",
            "jsonpath={.metadata.finalizers}",
        ])
        .await
        .unwrap();
    assert_eq!(finalizers.stdout, r#"["kilonova.dev/instance"]"#);
    let created = lab
        .audit()
        .unwrap()
        .into_iter()
        .filter(|e| e.is_write() && e.succeeded() && e.object_ref.resource == "instances");
    assert!(created.count() >= 1);

    let bound = lab.token("kilonova-agent", Some("node-1")).await.unwrap();
    let agent = lab.client_with_token(&bound).await.unwrap();
    assert!(
        Api::<ConfigMap>::default_namespaced(agent.clone())
            .list(&ListParams::default())
            .await
            .is_err()
    );
    let me = Api::<SelfSubjectReview>::all(agent)
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .unwrap();
    let me = me.status.and_then(|status| status.user_info).unwrap();
    assert_eq!(
        me.username.as_deref(),
        Some("system:serviceaccount:kilonova-system:kilonova-agent")
    );
    let node = me
        .extra
        .unwrap_or_default()
        .remove("authentication.kubernetes.io/node-name");
    assert_eq!(node, Some(vec!["node-1".to_owned()]));
}

#[tokio::test]
async fn the_image_server_serves_ranges_and_misbehaves_when_told() {
    let lab = Lab::start(LabOptions::bare("images")).await.unwrap();
    let dir = lab.dir().join("images");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("a"), "0123456789").unwrap();
    let server = lab.serve_images(&dir, network::IMAGE_PORT).unwrap();
    let curl = async |args: &[&str]| {
        let mut command = lab.namespaces().command("curl");
        command
            .args(["--silent", "--show-error", "--max-time", "2"])
            .args(args);
        kilonova_e2e::process::run(command, "").await.unwrap()
    };
    let url = server.url("a");
    assert_eq!(curl(&[&url]).await.stdout, "0123456789");
    assert_eq!(curl(&["-r", "2-4", &url]).await.stdout, "234");
    assert_eq!(
        curl(&["-o", "/dev/null", "-w", "%{http_code}", "-r", "50-", &url])
            .await
            .stdout,
        "416"
    );
    assert_eq!(
        curl(&[
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--path-as-is",
            &server.url("../lab.json")
        ])
        .await
        .stdout,
        "404"
    );
    server.behave("a", Behaviour::DropAfter(4));
    let cut = curl(&[&url]).await;
    assert_eq!(
        (cut.stdout.as_str(), cut.status.code()),
        ("0123", Some(18)),
        "{cut:?}"
    );
    server.behave("a", Behaviour::StallAfter(3));
    let stalled = curl(&[&url]).await;
    assert_eq!(
        (stalled.stdout.as_str(), stalled.status.code()),
        ("012", Some(28)),
        "{stalled:?}"
    );
    let ranges: Vec<_> = server.requests("a").into_iter().map(|r| r.range).collect();
    assert_eq!(
        ranges,
        [
            None,
            Some("bytes=2-4".to_owned()),
            Some("bytes=50-".to_owned()),
            None,
            None
        ]
    );
    drop(server);
    wait_for("the server to end", Duration::from_secs(10), || async {
        let answer = curl(&[&url]).await;
        if answer.status.code() == Some(7) {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await
    .unwrap();
}
