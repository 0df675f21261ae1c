//! What the Events of an Instance tell.

use k8s_openapi::{api::events::v1::Event, jiff::Timestamp};
use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle},
    wait::{GENEROUS, wait_for},
};
use kube::{Api, api::ListParams};
use serde_json::json;

use crate::cloud;

/// The Events of an Instance, in the order in which they happened first.
async fn story(cloud: &Cloud, namespace: &str, uid: &str) -> Vec<Event> {
    let api: Api<Event> = Api::namespaced(cloud.client(), namespace);
    let params = ListParams::default().fields(&format!("regarding.uid={uid}"));
    let mut events = api.list(&params).await.unwrap().items;
    events.sort_by_key(|event| event.event_time.as_ref().unwrap().0);
    events
}

/// How often it happened.
fn count(event: &Event) -> i32 {
    event.series.as_ref().map_or(1, |series| series.count)
}

/// When it happened last.
fn last(event: &Event) -> Timestamp {
    let series = event.series.as_ref().map(|s| s.last_observed_time.0);
    series.unwrap_or_else(|| event.event_time.as_ref().unwrap().0)
}

/// `Normal Started x2`.
fn lines(events: &[Event]) -> Vec<String> {
    let line = |event: &Event| {
        let word = |text: &Option<String>| text.clone().unwrap_or_default();
        format!(
            "{} {} x{}",
            word(&event.type_),
            word(&event.reason),
            count(event)
        )
    };
    events.iter().map(line).collect()
}

/// Waits until this was told so often, and gives the story so far.
async fn told(
    cloud: &Cloud,
    instance: &InstanceHandle<'_>,
    uid: &str,
    reason: &str,
    times: i32,
) -> Vec<Event> {
    let what = format!("{reason} to be told {times} times");
    wait_for(what, GENEROUS, || async {
        let events = story(cloud, instance.namespace(), uid).await;
        let is_it = |event: &&Event| event.reason.as_deref() == Some(reason);
        if events.iter().filter(is_it).map(count).sum::<i32>() == times {
            Ok(events)
        } else {
            Err(lines(&events).join(", "))
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn b66_events_tell_the_story_in_order_once_and_without_secrets() {
    let (_alone, cloud) = cloud().await;
    let shop = cloud.tenant("b66").await.unwrap();
    let secret = "swordfish-4711";
    let user_data = format!("#!/bin/sh\necho {secret} > /etc/secret\n");
    let spec = json!({"userData": user_data, "flavor": "later66"});
    let web = shop.create("web-1", spec).await.unwrap();
    let uid = web.get().await.unwrap().metadata.uid.unwrap();
    told(&cloud, &web, &uid, "FlavorMissing", 1).await;
    let flavor = json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Flavor", "metadata": {"name": "later66"},
        "spec": {"vcpus": 1, "memory": "128Mi", "disk": "256Mi"},
    });
    cloud.apply(&[flavor]).await.unwrap();
    web.ready("Running").await.unwrap();
    assert_eq!(web.sh("cat /etc/secret").await.unwrap(), secret);
    for (times, power) in [(1, "Off"), (2, "On"), (2, "Off"), (3, "On")] {
        web.power(power).await.unwrap();
        let (ready, reason) = match power {
            "Off" => ("Stopped", "Stopped"),
            _ => ("Running", "Started"),
        };
        web.ready(ready).await.unwrap();
        // A repeat is the same Event, that happened once more: seen soon, not after the next one.
        told(&cloud, &web, &uid, reason, times).await;
    }
    web.delete().await.unwrap();
    web.gone().await.unwrap();
    let events = told(&cloud, &web, &uid, "Terminating", 1).await;

    // A download of the image is told where it took a while.
    let seen: Vec<_> = lines(&events)
        .into_iter()
        .filter(|line| line != "Normal ImageDownloading x1")
        .collect();
    let expected = [
        "Warning FlavorMissing x1",
        "Normal Scheduled x1",
        "Normal Started x3",
        "Normal Stopped x2",
        "Normal Terminating x1",
    ];
    assert_eq!(seen, expected);
    let of = |reason: &str| {
        let mut events = events.iter();
        events
            .find(|e| e.reason.as_deref() == Some(reason))
            .unwrap()
    };
    assert!(
        last(of("Started")) > last(of("Stopped")),
        "it was started last"
    );
    assert!(last(of("Terminating")) > last(of("Started")));
    let node = of("Scheduled").note.clone().unwrap();
    assert!(node.starts_with("bound to node node-"), "{node}");

    let key = cloud.key().public.split(' ').nth(1).unwrap().to_owned();
    let all = cloud
        .lab()
        .kubectl(["get", "events.events.k8s.io", "-A", "-o", "json"])
        .await
        .unwrap()
        .checked()
        .unwrap()
        .stdout;
    assert!(all.contains("bound to node"), "they are there");
    for secret in [secret, key.as_str(), "#!/bin/sh"] {
        assert!(!all.contains(secret), "{secret}");
    }
    shop.close().await.unwrap();
}
