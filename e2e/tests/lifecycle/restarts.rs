//! A guest that ends by itself: restartPolicy, and backing off.

use kilonova_crds::{ConditionStatus::False, condition::types::READY, v1alpha1::PowerState};
use kilonova_e2e::{
    Error,
    cloud::{InstanceHandle, summary},
    wait::{GENEROUS, wait_for},
};
use serde_json::json;

use crate::cloud;

#[tokio::test]
async fn b63_under_always_a_guest_comes_back_and_one_that_loops_backs_off() {
    let cloud = cloud().await;
    let shop = cloud.tenant("b63always").await.unwrap();
    let web = shop.create("web-1", json!({})).await.unwrap();
    // User data that never comes to its end runs at each boot.
    let script = "#!/bin/sh\npoweroff -f\n";
    let loops = shop
        .create("loops", json!({"userData": script}))
        .await
        .unwrap();
    web.ready("Running").await.unwrap();
    let first = web.boot_id().await.unwrap();
    web.sh("poweroff").await.unwrap();
    another_boot(&web, &first).await;
    web.ready("Running").await.unwrap();

    let waits = loops
        .condition(READY, False, "CrashLoopBackOff")
        .await
        .unwrap();
    let status = waits.status.clone().unwrap();
    assert_eq!(status.power_state, Some(PowerState::Shutoff));
    assert!(summary(&waits).contains("shut itself down again and again"));
    let boots =
        || async { Ok::<_, Error>(loops.console().await?.matches("guest: boot_id").count()) };
    let before = boots().await.unwrap();
    assert!(before >= 2, "the first time it is started at once");
    wait_for("it to be started once more", GENEROUS, || async {
        let now = boots().await.map_err(|e| e.to_string())?;
        if now > before {
            Ok(())
        } else {
            Err(format!("{now} boots"))
        }
    })
    .await
    .unwrap();
    // Declared off, it is no trouble any more.
    loops.power("Off").await.unwrap();
    loops.ready("Stopped").await.unwrap();
    shop.close().await.unwrap();
}

/// Waits until the guest answers from another boot.
async fn another_boot(web: &InstanceHandle<'_>, before: &str) -> String {
    let what = "another boot of the guest";
    wait_for(what, GENEROUS, || async {
        match web.boot_id().await {
            Ok(boot) if boot != before => Ok(boot),
            Ok(_) => Err("the same boot".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn b63_a_guest_that_powers_off_stays_down_under_never_until_off_and_on_again() {
    let cloud = cloud().await;
    let shop = cloud.tenant("b63never").await.unwrap();
    let web = shop
        .create("web-1", json!({"restartPolicy": "Never"}))
        .await
        .unwrap();
    web.ready("Running").await.unwrap();
    let first = web.boot_id().await.unwrap();
    web.sh("poweroff").await.unwrap();
    let stopped = web.condition(READY, False, "GuestStopped").await.unwrap();
    assert_eq!(
        stopped.status.unwrap().power_state,
        Some(PowerState::Shutoff)
    );
    assert_eq!(web.domain_state().await.unwrap(), "shut off");
    web.power("Off").await.unwrap();
    web.ready("Stopped").await.unwrap();
    web.power("On").await.unwrap();
    web.ready("Running").await.unwrap();
    assert_ne!(web.boot_id().await.unwrap(), first);
    shop.close().await.unwrap();
}

#[tokio::test]
async fn b63_under_on_failure_a_crash_is_restarted_and_a_poweroff_is_not() {
    let cloud = cloud().await;
    let shop = cloud.tenant("b63failure").await.unwrap();
    let web = shop
        .create("web-1", json!({"restartPolicy": "OnFailure"}))
        .await
        .unwrap();
    web.ready("Running").await.unwrap();
    let first = web.boot_id().await.unwrap();
    web.kill_qemu().await.unwrap();
    let second = another_boot(&web, &first).await;
    web.ready("Running").await.unwrap();
    assert_ne!(second, first);
    web.sh("poweroff").await.unwrap();
    web.condition(READY, False, "GuestStopped").await.unwrap();
    assert_eq!(web.domain_state().await.unwrap(), "shut off");
    shop.close().await.unwrap();
}
