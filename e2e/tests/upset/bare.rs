//! A node without libvirt.

use kilonova_e2e::wait::{GENEROUS, wait_for};

use crate::{cloud, told};

#[tokio::test]
async fn an_agent_without_libvirt_says_so_is_ready_and_waits_for_it() {
    let (_alone, cloud) = cloud().await;
    let lab = cloud.lab();
    let (agent, node) = (lab.agent(0), lab.node(0));
    let before = told(lab, "LibvirtReady", "True").await;
    agent.kill().unwrap();
    node.libvirt().kill().unwrap();
    agent.start().unwrap();
    let status = told(lab, "LibvirtReady", "False").await;
    let text = status["conditions"].to_string();
    assert!(text.contains("no libvirt at qemu:///system ("), "{text}");
    assert!(
        text.contains("install and start libvirtd or virtqemud on this node"),
        "{text}"
    );
    assert_eq!(status["capacity"], before["capacity"]);
    let asked = "curl -s http://127.0.0.1:9110/readyz";
    wait_for("the agent to be ready", GENEROUS, || async {
        let answer = node.sh(asked).await.map_err(|e| e.to_string())?;
        if answer.trim() == "ok" {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await
    .unwrap();
    node.libvirt().start().await.unwrap();
    told(lab, "LibvirtReady", "True").await;
}
