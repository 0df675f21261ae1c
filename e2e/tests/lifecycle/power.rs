//! Declared power, and what becomes of disk, memory and processes.

use kilonova_crds::v1alpha1::PowerState;
use serde_json::json;

use crate::cloud;

#[tokio::test]
async fn b05_stop_and_start_keep_the_disk() {
    let cloud = cloud().await;
    let shop = cloud.tenant("b05").await.unwrap();
    let web = shop.create("web-1", json!({})).await.unwrap();
    web.ready("Running").await.unwrap();
    let before = web
        .sh("echo kept > ~/kept; sync; cat /proc/sys/kernel/random/boot_id")
        .await
        .unwrap();
    let address = web.status().await.unwrap().interfaces;

    let edited = web.power("Off").await.unwrap();
    let stopped = web.ready("Stopped").await.unwrap();
    let status = stopped.status.unwrap();
    assert_eq!(status.power_state, Some(PowerState::Shutoff));
    assert!(
        Some(status.observed_generation) >= edited.metadata.generation,
        "the edit is what the status is of"
    );
    assert_eq!(web.domain_state().await.unwrap(), "shut off");
    let console = web.console().await.unwrap();
    assert!(console.contains("login:"), "it can be read while it is off");

    web.power("On").await.unwrap();
    web.ready("Running").await.unwrap();
    assert_eq!(web.domain_state().await.unwrap(), "running");
    assert_eq!(web.sh("cat ~/kept").await.unwrap(), "kept");
    assert_ne!(web.boot_id().await.unwrap(), before, "it was off");
    assert_eq!(web.status().await.unwrap().interfaces, address);
    shop.close().await.unwrap();
}

#[tokio::test]
async fn b06_pause_freezes_and_unpause_resumes() {
    let cloud = cloud().await;
    let shop = cloud.tenant("b06").await.unwrap();
    let web = shop.create("web-1", json!({})).await.unwrap();
    web.ready("Running").await.unwrap();
    let boot = web.boot_id().await.unwrap();
    web.sh("sh -c 'n=0; while :; do n=$((n + 1)); echo $n > /tmp/n; usleep 50000; done' > /dev/null 2>&1 &")
        .await
        .unwrap();

    web.power("Paused").await.unwrap();
    let paused = web.ready("Paused").await.unwrap();
    assert_eq!(paused.status.unwrap().power_state, Some(PowerState::Paused));
    assert_eq!(web.domain_state().await.unwrap(), "paused");
    let answer = web.ssh("true").await.unwrap();
    assert_eq!(answer.status.code(), Some(255), "a frozen guest is mute");

    web.power("On").await.unwrap();
    web.ready("Running").await.unwrap();
    assert_eq!(web.boot_id().await.unwrap(), boot, "it is the same boot");
    let count = "a=$(cat /tmp/n); usleep 500000; b=$(cat /tmp/n); [ \"$b\" -gt \"$a\" ]";
    web.sh(count).await.unwrap();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn b07_suspend_resume_keeps_memory() {
    let cloud = cloud().await;
    let shop = cloud.tenant("b07").await.unwrap();
    let web = shop.create("web-1", json!({})).await.unwrap();
    web.ready("Running").await.unwrap();
    let boot = web.boot_id().await.unwrap();
    let filesystem = "echo in-memory > /tmp/kept; awk '$2 == \"/tmp\" {print $3}' /proc/mounts";
    assert_eq!(web.sh(filesystem).await.unwrap(), "tmpfs");

    web.power("Suspended").await.unwrap();
    let suspended = web.ready("Suspended").await.unwrap();
    assert_eq!(
        suspended.status.unwrap().power_state,
        Some(PowerState::Suspended)
    );
    assert_eq!(web.domain_state().await.unwrap(), "shut off");
    let info = web.virsh("dominfo", &[]).await.unwrap();
    assert!(info.contains("Managed save:   yes"), "{info}");

    web.power("On").await.unwrap();
    web.ready("Running").await.unwrap();
    assert_eq!(web.sh("cat /tmp/kept").await.unwrap(), "in-memory");
    assert_eq!(web.boot_id().await.unwrap(), boot, "it is the same boot");

    // From saved to off: as if its power had been cut. Then a boot of its own.
    web.power("Suspended").await.unwrap();
    web.ready("Suspended").await.unwrap();
    web.power("Off").await.unwrap();
    web.ready("Stopped").await.unwrap();
    web.power("On").await.unwrap();
    web.ready("Running").await.unwrap();
    assert_ne!(web.boot_id().await.unwrap(), boot);
    shop.close().await.unwrap();
}

#[tokio::test]
async fn an_instance_declared_off_or_paused_at_first_never_ran() {
    let cloud = cloud().await;
    let shop = cloud.tenant("firstpower").await.unwrap();
    let off = shop.create("off", json!({"power": "Off"})).await.unwrap();
    let paused = shop
        .create("paused", json!({"power": "Paused"}))
        .await
        .unwrap();
    off.ready("Stopped").await.unwrap();
    paused.ready("Paused").await.unwrap();
    assert_eq!(off.domain_state().await.unwrap(), "shut off");
    assert_eq!(paused.domain_state().await.unwrap(), "paused");
    for instance in [&off, &paused] {
        let console = instance.console().await.unwrap_or_default();
        assert!(!console.contains("guest:"), "{console}");
    }
    paused.power("On").await.unwrap();
    paused.ready("Running").await.unwrap();
    paused.sh("true").await.unwrap();
    shop.close().await.unwrap();
}
