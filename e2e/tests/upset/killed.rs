//! Power cut by hand; QEMU, libvirtd, the agent killed.

use std::collections::BTreeMap;

use kilonova_crds::{
    ConditionStatus::True,
    condition::{find, types::READY},
    v1alpha1::{Instance, PowerState},
};
use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle, summary},
    wait::{GENEROUS, wait_for},
};
use serde_json::{Value, json};

use crate::cloud;

#[tokio::test]
async fn b52_a_power_cut_by_hand_is_reported_and_undone() {
    let (_alone, cloud) = cloud().await;
    let shop = cloud.tenant("b52").await.unwrap();
    let web = shop.create("web-1", json!({})).await.unwrap();
    let before = web.ready("Running").await.unwrap();
    let boot = web.boot_id().await.unwrap();
    web.virsh("destroy", &[]).await.unwrap();
    let history = web.history(&before, runs_again()).await.unwrap();
    told(&history, PowerState::Shutoff, "power was cut");
    assert_ne!(web.boot_id().await.unwrap(), boot);
    assert_eq!(web.domain_state().await.unwrap(), "running");

    // Paused by hand: declared On, it goes on, and it is the same boot.
    let boot = web.boot_id().await.unwrap();
    web.virsh("suspend", &[]).await.unwrap();
    web.until_domain_is("running").await.unwrap();
    assert_eq!(web.boot_id().await.unwrap(), boot);

    // Started by hand: declared Off, it is switched off again.
    web.power("Off").await.unwrap();
    web.ready("Stopped").await.unwrap();
    let tap = web.tap().await.unwrap();
    let by_hand = format!(
        "ip tuntap add {tap} mode tap vnet_hdr; virsh -q start {}",
        web.uuid().await.unwrap()
    );
    web.node().await.unwrap().sh(&by_hand).await.unwrap();
    web.until_domain_is("shut off").await.unwrap();
    web.ready("Stopped").await.unwrap();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn b52_a_killed_qemu_is_reported_and_started_again() {
    let (_alone, cloud) = cloud().await;
    let shop = cloud.tenant("b52qemu").await.unwrap();
    let web = shop.create("web-1", json!({})).await.unwrap();
    let before = web.ready("Running").await.unwrap();
    let boot = web
        .sh("echo kept > ~/kept; sync; cat /proc/sys/kernel/random/boot_id")
        .await
        .unwrap();
    web.kill_qemu().await.unwrap();
    let history = web.history(&before, runs_again()).await.unwrap();
    told(&history, PowerState::Crashed, "crashed");
    assert_ne!(web.boot_id().await.unwrap(), boot);
    assert_eq!(web.sh("cat ~/kept").await.unwrap(), "kept");
    shop.close().await.unwrap();
}

/// Whether it has not been Ready, and is.
fn runs_again() -> impl Fn(&Instance) -> bool {
    let fell = std::cell::Cell::new(false);
    move |instance| {
        let conditions = &instance.status.as_ref().unwrap().conditions;
        let ready = find(conditions, READY).unwrap();
        fell.set(fell.get() || ready.status != True);
        fell.get() && ready.status == True
    }
}

/// Somebody who watches was told.
fn told(history: &[Instance], power: PowerState, text: &str) {
    let lines: Vec<_> = history.iter().map(summary).collect();
    let of = |instance: &Instance| instance.status.as_ref().and_then(|s| s.power_state);
    let mut states = history.iter().zip(&lines);
    let found = states.any(|(i, line)| of(i) == Some(power) && line.contains(text));
    assert!(found, "no {power:?} with {text:?} in {lines:#?}");
}

#[tokio::test]
async fn a_killed_libvirtd_restarts_no_guest_and_what_was_declared_meanwhile_is_done() {
    let (_alone, cloud) = cloud().await;
    let shop = cloud.tenant("libvirtd").await.unwrap();
    let stays = shop.create("stays", json!({})).await.unwrap();
    let goes = shop.create("goes", json!({})).await.unwrap();
    for instance in [&stays, &goes] {
        instance.ready("Running").await.unwrap();
    }
    let boot = stays.boot_id().await.unwrap();
    goes.sh("true").await.unwrap();
    let libvirt = cloud.lab().node(0).libvirt();
    libvirt.kill().unwrap();
    goes.power("Off").await.unwrap();
    // The network of what runs is none of libvirt's.
    assert_eq!(stays.boot_id().await.unwrap(), boot);
    libvirt.start().await.unwrap();
    goes.ready("Stopped").await.unwrap();
    stays.ready("Running").await.unwrap();
    assert_eq!(stays.boot_id().await.unwrap(), boot);
    // libvirt's events are heard again.
    stays.power("Paused").await.unwrap();
    stays.ready("Paused").await.unwrap();
    stays.virsh("resume", &[]).await.unwrap();
    stays.until_domain_is("paused").await.unwrap();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn a_killed_agent_touches_no_guest_writes_nothing_and_does_what_was_declared_meanwhile() {
    let (_alone, cloud) = cloud().await;
    let shop = cloud.tenant("agent").await.unwrap();
    let stays = shop.create("stays", json!({})).await.unwrap();
    let off = shop.create("off", json!({"power": "Off"})).await.unwrap();
    stays.ready("Running").await.unwrap();
    off.ready("Stopped").await.unwrap();
    let boot = stays.boot_id().await.unwrap();
    let agent = cloud.lab().agent(0);
    let renewed = lease(&cloud).await;
    let before = versions(&cloud).await;
    agent.kill().unwrap();
    agent.start().unwrap();
    wait_for("the agent's Lease to be renewed", GENEROUS, || async {
        let now = lease(&cloud).await;
        if now == renewed { Err(now) } else { Ok(()) }
    })
    .await
    .unwrap();
    // A change that it carries out tells that it has looked at everything.
    off.power("Paused").await.unwrap();
    off.ready("Paused").await.unwrap();
    let mut after = versions(&cloud).await;
    let mut expected = before;
    for versions in [&mut expected, &mut after] {
        let uid = off.get().await.unwrap().metadata.uid.unwrap();
        versions.retain(|name, _| !name.contains("/off") && !name.contains(&uid));
    }
    assert_eq!(after, expected, "what did not change is not written");
    assert_eq!(stays.boot_id().await.unwrap(), boot);

    // What is declared while no agent runs is done when one does.
    agent.kill().unwrap();
    stays.virsh("destroy", &[]).await.unwrap();
    off.delete().await.unwrap();
    agent.start().unwrap();
    off.gone().await.unwrap();
    stays.until_domain_is("running").await.unwrap();
    assert_ne!(stays.boot_id().await.unwrap(), boot);
    shop.close().await.unwrap();
}

/// When the agent last said that it lives.
async fn lease(cloud: &Cloud) -> String {
    let path = "-o=jsonpath={.spec.renewTime} {.metadata.resourceVersion}";
    let args = [
        "get",
        "lease",
        "kilonova-agent",
        "-n",
        "kilonova-node-node-1",
    ];
    let output = cloud.lab().kubectl(args.into_iter().chain([path])).await;
    output.unwrap().checked().unwrap().stdout
}

/// The resource versions of every object of ours, by kind, namespace and name.
async fn versions(cloud: &Cloud) -> BTreeMap<String, String> {
    let kinds =
        "instances,hypervisors,networks,domains.node.kilonova.dev,segments.node.kilonova.dev";
    let args = ["get", kinds, "-A", "-o", "json"];
    let output = cloud.lab().kubectl(args).await.unwrap().checked().unwrap();
    let list: Value = serde_json::from_str(&output.stdout).unwrap();
    let items = list["items"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entry = |item: &Value| {
        let metadata = &item["metadata"];
        let name = format!(
            "{}/{}/{}",
            text(&item["kind"]),
            text(&metadata["namespace"]),
            text(&metadata["name"])
        );
        (name, text(&metadata["resourceVersion"]))
    };
    items.iter().map(entry).collect()
}

#[tokio::test]
async fn an_agent_that_is_killed_again_and_again_while_an_instance_starts_starts_it_once() {
    let (_alone, cloud) = cloud().await;
    let shop = cloud.tenant("kills").await.unwrap();
    let agent = cloud.lab().agent(0);
    let web = shop.create("web-1", json!({})).await.unwrap();
    for step in ["record.json", "disk.qcow2", "config.iso", "console.log"] {
        appears(&web, step).await;
        agent.kill().unwrap();
        agent.start().unwrap();
    }
    web.ready("Running").await.unwrap();
    web.sh("true").await.unwrap();
    let console = web.console().await.unwrap();
    assert_eq!(console.matches("guest: boot_id").count(), 1, "{console}");
    shop.close().await.unwrap();
}

/// Waits until a file of it is on the node, or it runs: then it is too late for this step.
async fn appears(web: &InstanceHandle<'_>, file: &str) {
    wait_for(format!("the file {file}"), GENEROUS, || async {
        let uuid = web.uuid().await.map_err(|e| e.to_string())?;
        let node = web.node().await.map_err(|e| e.to_string())?;
        let path = node.state_dir().join("instances").join(uuid).join(file);
        if path.exists() {
            Ok(())
        } else {
            Err("not there".to_owned())
        }
    })
    .await
    .unwrap();
}
