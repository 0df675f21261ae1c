//! Lists a kind, then watches it from there, for as long as the process leads.
//!
//! Not kube's `watcher`: whether the answer of a write or the watch is the newer state can only be
//! told with the list's own resourceVersion, which that does not give. The list is consistent (no
//! resourceVersion is asked for), in pages.

use super::store::WentBack;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::ObjectList;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// Objects a page of a list.
const PAGE: u32 = 500;
/// How much longer than the server was told a watch may be silent before it counts as dead.
const SILENCE_MARGIN: Duration = Duration::from_secs(5);
/// Delays between tries after errors, from the first to the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// HTTP's "Gone": the version that the watch would go on from is no longer kept.
const GONE: u16 = 410;

/// Who takes the objects in.
pub trait Sink<K>: Send + Sync {
    /// Drops what is not looked at; each page of a list goes through this as it comes.
    fn trim(&self, object: &mut K);
    /// A whole list, complete at that resourceVersion.
    ///
    /// # Errors
    /// When the server has gone back in time: the process must start anew.
    fn replaced(&self, list: Vec<K>, version: u64) -> Result<(), WentBack>;
    /// An object was made or changed.
    fn seen(&self, object: K);
    /// An object was deleted.
    fn deleted(&self, object: &K);
    /// The watch is lost, or the list cannot be had.
    fn lost(&self);
    /// The server answers: the watch is open.
    fn contact(&self);
}

/// What to watch.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Only objects with this label.
    pub label: Option<&'static str>,
    /// How long the server keeps one watch open, in seconds. A connection that died without a word
    /// is noticed 5 s after that.
    pub watch_seconds: u32,
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            label: None,
            watch_seconds: 290,
        }
    }
}

/// How a watch ended.
enum End {
    /// As the server was told; goes on from there.
    Closed(String),
    /// The version is too old: list again.
    Gone,
    /// It broke, or was silent.
    Lost(String),
}

/// Keeps `sink` up to date; returns only when the server has gone back in time.
pub async fn reflect<K>(api: Api<K>, scope: Scope, sink: impl Sink<K>) -> WentBack
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut delay = RETRY.0;
    loop {
        match list(&api, &scope, &sink).await {
            Ok((objects, version)) => {
                let number = version.parse().unwrap_or(0);
                if let Err(back) = sink.replaced(objects, number) {
                    return back;
                }
                delay = RETRY.0;
                follow(&api, &scope, &sink, version).await;
            }
            Err(error) => {
                warn!(kind = %K::kind(&()), %error, "cannot list");
                sink.lost();
                sleep(delay).await;
                delay = (delay * 2).min(RETRY.1);
            }
        }
    }
}

async fn list<K>(api: &Api<K>, scope: &Scope, sink: &impl Sink<K>) -> kube::Result<(Vec<K>, String)>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut params = ListParams {
        label_selector: scope.label.map(str::to_owned),
        limit: Some(PAGE),
        ..ListParams::default()
    };
    let mut objects = Vec::new();
    loop {
        let ObjectList {
            metadata,
            mut items,
            ..
        } = api.list(&params).await?;
        for object in &mut items {
            sink.trim(object);
        }
        objects.extend(items);
        let ListMeta {
            continue_,
            resource_version,
            ..
        } = metadata;
        params.continue_token = continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok((objects, resource_version.unwrap_or_default()));
        }
    }
}

/// Watches until a new list is needed.
async fn follow<K>(api: &Api<K>, scope: &Scope, sink: &impl Sink<K>, mut version: String)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut delay = RETRY.0;
    loop {
        match watch(api, scope, sink, version).await {
            End::Closed(next) => {
                version = next;
                delay = RETRY.0;
            }
            End::Gone => return sink.lost(),
            End::Lost(next) => {
                sink.lost();
                sleep(delay).await;
                delay = (delay * 2).min(RETRY.1);
                version = next;
            }
        }
    }
}

async fn watch<K>(api: &Api<K>, scope: &Scope, sink: &impl Sink<K>, mut version: String) -> End
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let params = WatchParams {
        label_selector: scope.label.map(str::to_owned),
        timeout: Some(scope.watch_seconds),
        ..WatchParams::default()
    };
    let silence = Duration::from_secs(scope.watch_seconds.into()) + SILENCE_MARGIN;
    let mut stream = match timeout(silence, api.watch(&params, &version)).await {
        Ok(Ok(stream)) => stream.boxed(),
        Ok(Err(error)) => return ended::<K>(&error, version),
        Err(_) => return End::Lost(version),
    };
    sink.contact();
    loop {
        match timeout(silence, stream.try_next()).await {
            Err(_) => return End::Lost(version),
            Ok(Err(error)) => return ended::<K>(&error, version),
            Ok(Ok(None)) => return End::Closed(version),
            Ok(Ok(Some(event))) => match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    version = of(object.meta().resource_version.as_ref(), version);
                    sink.seen(object);
                }
                WatchEvent::Deleted(object) => {
                    version = of(object.meta().resource_version.as_ref(), version);
                    sink.deleted(&object);
                }
                WatchEvent::Bookmark(mark) => version = mark.metadata.resource_version,
                WatchEvent::Error(status) => {
                    return ended::<K>(&kube::Error::Api(status), version);
                }
            },
        }
    }
}

fn of(next: Option<&String>, version: String) -> String {
    next.cloned().unwrap_or(version)
}

fn ended<K: Resource<DynamicType = ()>>(error: &kube::Error, version: String) -> End {
    if let kube::Error::Api(status) = error
        && (status.code == GONE || status.message.contains("Too large resource version"))
    {
        return End::Gone;
    }
    warn!(kind = %K::kind(&()), %error, "the watch was lost");
    End::Lost(version)
}
