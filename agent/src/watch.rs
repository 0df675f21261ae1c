//! Lists the Domains and Segments of the node namespace, then watches them, for ever.

use crate::runner::Runner;
use crate::world::World;
use futures::{Stream, StreamExt};
use kilonova_crds::{Domain, Segment};
use kube::core::{DeserializeGuard, error_boundary::InvalidObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use tracing::warn;

/// Watches Domains, and wakes the instances that changed.
pub async fn domains(client: Client, namespace: &str, world: Arc<World>, runner: Arc<Runner>) {
    let api: Api<DeserializeGuard<Domain>> = Api::namespaced(client, namespace);
    let events = watch(api);
    let mut list = Vec::new();
    follow("Domain", events, |event| match event {
        Event::Init => list = Vec::new(),
        Event::InitApply(domain) => list.extend(understood(domain)),
        Event::InitDone => {
            world.listed_domains(std::mem::take(&mut list));
            runner.look();
            runner.census();
        }
        Event::Apply(domain) => {
            let Some(domain) = understood(domain) else {
                return;
            };
            let uuid = world.saw_domain(domain);
            runner.wake(&uuid);
            runner.adopted(&uuid);
        }
        Event::Delete(domain) => {
            let Some(domain) = understood(domain) else {
                return;
            };
            runner.wake(&world.lost_domain(&domain));
            runner.census();
        }
    })
    .await;
}

/// Watches Segments, and wakes the instances with ports in them.
pub async fn segments(client: Client, namespace: &str, world: Arc<World>, runner: Arc<Runner>) {
    let api: Api<DeserializeGuard<Segment>> = Api::namespaced(client, namespace);
    let events = watch(api);
    let mut list = Vec::new();
    follow("Segment", events, |event| match event {
        Event::Init => list = Vec::new(),
        Event::InitApply(segment) => list.extend(understood(segment)),
        Event::InitDone => {
            world.listed_segments(std::mem::take(&mut list));
            runner.look();
        }
        Event::Apply(segment) => {
            let Some(segment) = understood(segment) else {
                return;
            };
            let name = segment.name_any();
            let touched = world.saw_segment(segment);
            runner.segment_changed(&name);
            for uuid in &touched {
                runner.wake(uuid);
            }
        }
        Event::Delete(segment) => {
            if let Some(segment) = understood(segment) {
                world.lost_segment(&segment);
            }
        }
    })
    .await;
}

/// What is there, and what changes. Who manages which field is not kept: it is the larger part of
/// an object.
fn watch<K>(
    api: Api<DeserializeGuard<K>>,
) -> impl Stream<Item = watcher::Result<Event<DeserializeGuard<K>>>> + Send
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|object| object.meta_mut().managed_fields = None)
}

/// The object, where this version understands it. What newer controllers wrote and it does not is
/// left as it was known, or not known: nothing is stopped because of that, and all others go on.
fn understood<K: Resource<DynamicType = ()>>(given: DeserializeGuard<K>) -> Option<K> {
    match given.0 {
        Ok(object) => Some(object),
        Err(InvalidObject { error, metadata }) => {
            let (kind, name) = (K::kind(&()), metadata.name.unwrap_or_default());
            warn!(%kind, name, error, "written for a newer agent, and left alone: upgrade this one");
            None
        }
    }
}

async fn follow<K>(
    kind: &'static str,
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    mut take: impl FnMut(Event<K>),
) {
    let mut events = pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => take(event),
            Err(error) => warn!(kind, %error, "the watch was lost"),
        }
    }
}
