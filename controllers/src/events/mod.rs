//! Events of Instances: told in order by one task, so that no reconcile waits for one; the same
//! event again within a while only raises a count. Events are for people: where the API does not
//! keep up they are dropped, and nothing depends on them.

pub mod story;

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
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use story::Told;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::debug;

/// Events that may wait to be written.
const QUEUE: usize = 4096;
/// How long the same event again counts as the same.
const SAME_WITHIN: Duration = Duration::from_mins(10);
/// How often a count is written.
const COUNT_EVERY: Duration = Duration::from_mins(1);
/// Events remembered before old ones are forgotten.
const REMEMBERED: usize = 8192;
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
    known: HashMap<(String, Told), Known>,
}

struct Known {
    name: String,
    first: Instant,
    written: Instant,
    count: i32,
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
        known: HashMap::new(),
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
        while let Some((about, told)) = self.receiver.recv().await {
            if !self.leadership.holds() {
                continue;
            }
            match timeout(PATIENCE, self.tell(about, told)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "cannot write an event"),
                Err(_) => debug!("an event was not written in time"),
            }
        }
    }

    async fn tell(&mut self, about: ObjectReference, told: Told) -> kube::Result<()> {
        let now = Instant::now();
        let namespace = about.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let key = (about.uid.clone().unwrap_or_default(), told);
        if let Some(known) = self.known.get_mut(&key)
            && now < known.first + SAME_WITHIN
        {
            known.count += 1;
            if now < known.written + COUNT_EVERY {
                return Ok(());
            }
            known.written = now;
            return count(&api, known).await;
        }
        if self.known.len() >= REMEMBERED {
            self.known
                .retain(|_, known| now < known.first + SAME_WITHIN);
        }
        let event = self.event(about, &key.1);
        let name = event.metadata.name.clone().unwrap_or_default();
        api.create(&PostParams::default(), &event).await?;
        let known = Known {
            name,
            first: now,
            written: now,
            count: 1,
        };
        self.known.insert(key, known);
        Ok(())
    }

    fn event(&self, about: ObjectReference, told: &Told) -> Event {
        let now = Timestamp::now();
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

async fn count(api: &Api<Event>, known: &Known) -> kube::Result<()> {
    let series = EventSeries {
        count: known.count,
        last_observed_time: MicroTime(Timestamp::now()),
    };
    let patch = Patch::Merge(json!({"series": series}));
    api.patch(&known.name, &PatchParams::default(), &patch)
        .await
        .map(|_| ())
}

fn shortened(note: &str) -> String {
    if note.len() <= NOTE_MAX {
        return note.to_owned();
    }
    note[..note.floor_char_boundary(NOTE_MAX)].to_owned()
}
