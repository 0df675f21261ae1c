//! A node with virtqemud in place of libvirtd.

use std::time::Duration;

use kilonova_e2e::{cloud::InstanceHandle, lab::Daemons, wait::wait_for};
use serde_json::json;

use crate::{cloud, told};

/// Less than the agent's pause between two looks at everything: sooner, it was told.
const SOON: Duration = Duration::from_secs(40);

/// Cuts the guest's power by hand, and waits until libvirt has it running anew.
async fn cut(web: &InstanceHandle<'_>) {
    let id = web.virsh("domid", &[]).await.unwrap();
    web.virsh("destroy", &[]).await.unwrap();
    wait_for("the guest to run again", SOON, || async {
        match web.virsh("domid", &[]).await {
            Ok(now) if now != id && now.trim().parse::<u32>().is_ok() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    web.until_domain_is("running").await.unwrap();
}

#[tokio::test]
async fn an_agent_lives_with_virtqemud_alone() {
    let (_alone, cloud) = cloud().await;
    let lab = cloud.lab();
    let (agent, libvirt) = (lab.agent(0), lab.node(0).libvirt());
    let shop = cloud.tenant("split").await.unwrap();
    let web = shop.create("web-1", json!({})).await.unwrap();
    web.ready("Running").await.unwrap();
    let boot = web.boot_id().await.unwrap();

    // The agent reconnects to another daemon under its URI, and nobody notices.
    libvirt.lay_out(Daemons::Apart).await.unwrap();
    told(lab, "LibvirtReady", "True").await;
    let other = shop.create("web-2", json!({})).await.unwrap();
    other.ready("Running").await.unwrap();
    assert_eq!(web.boot_id().await.unwrap(), boot);
    cut(&web).await;

    // It ends by itself, as when nobody has asked it anything for a while, or is killed.
    libvirt.stop().unwrap();
    told(lab, "LibvirtReady", "False").await;
    libvirt.start().await.unwrap();
    told(lab, "LibvirtReady", "True").await;
    libvirt.kill().unwrap();
    libvirt.start().await.unwrap();
    cut(&web).await;

    // An agent that never saw another daemon.
    agent.kill().unwrap();
    agent.start().unwrap();
    other.power("Off").await.unwrap();
    other.ready("Stopped").await.unwrap();
    other.power("On").await.unwrap();
    other.ready("Running").await.unwrap();

    libvirt.lay_out(Daemons::Together).await.unwrap();
    told(lab, "LibvirtReady", "True").await;
    shop.close().await.unwrap();
}
