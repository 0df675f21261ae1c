//! A node without libvirt.

use kilonova_e2e::{
    lab::Lab,
    wait::{GENEROUS, wait_for},
};
use serde_json::Value;

use crate::cloud;

/// The Hypervisor's status, once the agent says this of libvirt.
async fn told(lab: &Lab, status: &str) -> Value {
    let what = format!("LibvirtReady={status}");
    wait_for(what, GENEROUS, || async {
        let args = ["get", "hypervisor", "node-1", "-o", "json"];
        let output = lab
            .kubectl(args)
            .await
            .and_then(kilonova_e2e::process::Output::checked);
        let output = output.map_err(|error| error.to_string())?;
        let found: Value = serde_json::from_str(&output.stdout).map_err(|e| e.to_string())?;
        let conditions = found["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        let is = |c: &&Value| c["type"] == "LibvirtReady" && c["status"] == status;
        if conditions.any(|c| is(&c)) {
            Ok(found["status"].clone())
        } else {
            Err(output.stdout)
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn an_agent_without_libvirt_says_so_is_ready_and_waits_for_it() {
    let (_alone, cloud) = cloud().await;
    let lab = cloud.lab();
    let (agent, node) = (lab.agent(0), lab.node(0));
    let before = told(lab, "True").await;
    agent.kill().unwrap();
    node.libvirt().kill().unwrap();
    agent.start().unwrap();
    let status = told(lab, "False").await;
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
    told(lab, "True").await;
}
