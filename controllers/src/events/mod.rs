//! Events of Instances: told in order by one task, so that no reconcile waits for one; the same
//! event again within a while only raises its count. Events are for people: where the API does not
//! keep up they are dropped, and nothing depends on them.

mod repeats;
pub mod story;

use crate::effect::Effect;
use crate::leader::Leadership;
use crate::metrics::Metrics;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::Instance;
use kilonova_crds::names::CONTROLLERS_MANAGER;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use repeats::{Count, Happened, Repeats};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use story::Told;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::debug;

/// Events that may wait to be written.
const QUEUE: usize = 4096;
/// How often it is looked for counts that are due.
const LOOK: Duration = Duration::from_secs(1);
/// How long one write may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest note, in bytes, as the API has it.
const NOTE_MAX: usize = 1024;

/// Takes events.
#[derive(Clone)]
pub struct Events {
    sender: mpsc::Sender<(ObjectReference, Told)>,
    metrics: Metrics,
}

/// Writes events.
pub struct Teller {
    client: Client,
    leadership: Arc<Leadership>,
    identity: String,
    receiver: mpsc::Receiver<(ObjectReference, Told)>,
    repeats: Repeats,
}

/// A sender of events, and the task that writes them.
pub fn channel(
    client: Client,
    leadership: Arc<Leadership>,
    identity: String,
    metrics: Metrics,
) -> (Events, Teller) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let teller = Teller {
        client,
        leadership,
        identity,
        receiver,
        repeats: Repeats::default(),
    };
    (Events { sender, metrics }, teller)
}

impl Events {
    /// Tells what happened to an Instance, in order.
    pub fn tell(&self, instance: &Instance, story: impl IntoIterator<Item = Told>) {
        for told in story {
            let about = instance.object_ref(&());
            if self.sender.try_send((about, told)).is_err() {
                self.metrics.events_dropped.inc();
            }
        }
    }
}

impl Teller {
    /// Writes events for as long as the process leads.
    pub async fn run(mut self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = self.receiver.recv() => match received {
                    Some((about, told)) => self.tell(about, told).await,
                    None => return,
                },
                _ = looks.tick(), if self.repeats.holds() => {}
            }
            for count in self.repeats.due(Instant::now()) {
                self.write(raise(&self.client, &count)).await;
            }
        }
    }

    async fn tell(&mut self, about: ObjectReference, told: Told) {
        let (now, at) = (Instant::now(), Timestamp::now());
        let key = (about.uid.clone().unwrap_or_default(), told);
        if self.repeats.happened(&key, now, at) == Happened::Again {
            return;
        }
        let namespace = about.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let event = self.event(about, &key.1, at);
        let params = PostParams::default();
        if self.write(api.create(&params, &event)).await {
            let name = event.metadata.name.unwrap_or_default();
            self.repeats.told(key, namespace, name, now, at);
        }
    }

    /// Writes, if the process leads; whether that was done.
    async fn write<T>(&self, writing: impl Future<Output = kube::Result<T>>) -> bool {
        if !self.leadership.holds() {
            return false;
        }
        match Effect::TellEvent
            .carry_out(timeout(PATIENCE, writing))
            .await
        {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => debug!(%error, "cannot write an event"),
            Err(_) => debug!("an event was not written in time"),
        }
        false
    }

    fn event(&self, about: ObjectReference, told: &Told, now: Timestamp) -> Event {
        let name = about.name.as_deref().unwrap_or_default();
        Event {
            metadata: ObjectMeta {
                namespace: about.namespace.clone(),
                name: Some(format!("{name}.{:x}", now.as_nanosecond())),
                ..ObjectMeta::default()
            },
            action: Some(told.action.to_owned()),
            reason: Some(told.reason.clone()),
            note: Some(shortened(&told.note)),
            type_: Some(if told.warning { "Warning" } else { "Normal" }.to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(about),
            reporting_controller: Some(format!("kilonova.dev/{CONTROLLERS_MANAGER}")),
            reporting_instance: Some(self.identity.clone()),
            ..Event::default()
        }
    }
}

async fn raise(client: &Client, count: &Count) -> kube::Result<Event> {
    let api: Api<Event> = Api::namespaced(client.clone(), &count.namespace);
    let series = EventSeries {
        count: count.times,
        last_observed_time: MicroTime(count.last),
    };
    let patch = Patch::Merge(json!({"series": series}));
    api.patch(&count.name, &PatchParams::default(), &patch)
        .await
}

fn shortened(note: &str) -> String {
    if note.len() <= NOTE_MAX {
        return note.to_owned();
    }
    note[..note.floor_char_boundary(NOTE_MAX)].to_owned()
}
