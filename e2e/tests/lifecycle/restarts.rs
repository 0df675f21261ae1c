//! A guest that ends by itself: restartPolicy, and backing off.

use kilonova_crds::{ConditionStatus::False, condition::types::READY, v1alpha1::PowerState};
use serde_json::json;

use crate::cloud;

#[tokio::test]
async fn b63_a_guest_that_powers_off_comes_back_under_always_and_a_loop_backs_off() {
    let cloud = cloud().await;
    let shop = cloud.tenant("b63always").await.unwrap();
    let web = shop.create("web-1", json!({})).await.unwrap();
    web.ready("Running").await.unwrap();
    let first = web.boot_id().await.unwrap();
    web.sh("poweroff").await.unwrap();
    // The first time at once.
    let second = another_boot(&web, &first).await;
    web.ready("Running").await.unwrap();
    // The second time in a row has to wait, and says so.
    web.sh("poweroff").await.unwrap();
    let waits = web
        .condition(READY, False, "CrashLoopBackOff")
        .await
        .unwrap();
    let waits = waits.status.unwrap();
    assert_eq!(waits.power_state, Some(PowerState::Shutoff));
    another_boot(&web, &second).await;
    web.ready("Running").await.unwrap();
    shop.close().await.unwrap();
}

/// Waits until the guest answers from another boot.
async fn another_boot(web: &kilonova_e2e::cloud::InstanceHandle<'_>, before: &str) -> String {
    let what = "another boot of the guest";
    kilonova_e2e::wait::wait_for(what, kilonova_e2e::wait::GENEROUS, || async {
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
    crate::kill_qemu(&cloud, &web).await;
    let second = another_boot(&web, &first).await;
    web.ready("Running").await.unwrap();
    assert_ne!(second, first);
    web.sh("poweroff").await.unwrap();
    web.condition(READY, False, "GuestStopped").await.unwrap();
    assert_eq!(web.domain_state().await.unwrap(), "shut off");
    shop.close().await.unwrap();
}
