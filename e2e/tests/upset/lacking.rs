//! A node without a program and without a feature of the kernel that networks need.

use kilonova_e2e::wait::{GENEROUS, wait_for};
use serde_json::json;

use crate::{cloud, condition, object, told};

/// All that the agent calls, but for dnsmasq.
const PROGRAMS: &str = "mkdir -p /run/programs; cd /run/programs; \
    for name in ip nft dhcp_release setpriv; do ln -sf \"$(command -v $name)\" .; done";

#[tokio::test]
async fn a_node_says_what_it_lacks_gets_no_instance_that_needs_it_and_recovers() {
    let (_alone, cloud) = cloud().await;
    let lab = cloud.lab();
    let (agent, node) = (lab.agent(0), lab.node(0));
    agent.kill().unwrap();
    node.sh(PROGRAMS).await.unwrap();
    // A tap is made by this file, whatever the kernel can do.
    node.sh("mount --bind /dev/null /dev/net/tun")
        .await
        .unwrap();
    agent.configure(|launch| {
        let program = std::mem::replace(&mut launch.program, "env".into());
        let before = ["PATH=/run/programs".into(), program.into_os_string()];
        launch.args.splice(0..0, before);
    });
    let process = agent.start().unwrap();

    let status = told(lab, "NetworksReady", "False").await;
    let text = status["conditions"].to_string();
    for sentence in [
        "there is no program dnsmasq where the agent runs: install the package dnsmasq-base",
        "the kernel makes no tap (",
        "): modprobe tun",
    ] {
        assert!(text.contains(sentence), "{text}");
    }
    for other in ["no program nft", "no bridge", "no pair", "packet filter"] {
        assert!(!text.contains(other), "{text}");
    }
    told(lab, "GuestsReady", "True").await;
    told(lab, "LibvirtReady", "True").await;

    let shop = cloud.tenant("lacking").await.unwrap();
    let web = shop.create("web-1", json!({})).await.unwrap();
    wait_for("what the instance waits for", GENEROUS, || async {
        let found = object(lab, &["instance", "web-1", "-n", "lacking"]).await?;
        let scheduled = condition(&found, "Scheduled").map(ToString::to_string);
        let says = "1 lacks what it needs (its conditions say what)";
        match scheduled {
            Some(told) if told.contains(says) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    let alone = shop.create("alone", json!({"interfaces": []})).await;
    alone.unwrap().ready("Running").await.unwrap();

    node.sh("umount /dev/net/tun; ln -s \"$(command -v dnsmasq)\" /run/programs/")
        .await
        .unwrap();
    told(lab, "NetworksReady", "True").await;
    web.ready("Running").await.unwrap();
    assert_eq!(agent.process(), Some(process), "it was never restarted");

    shop.close().await.unwrap();
    agent.kill().unwrap();
    agent.configure(|launch| {
        launch.program = launch.args.remove(1).into();
        launch.args.remove(0);
    });
    agent.start().unwrap();
    cloud.settled().await.unwrap();
}
