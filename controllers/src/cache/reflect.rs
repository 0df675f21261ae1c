//! Lists a kind, then watches it from there, for as long as the process leads.
//!
//! Not kube's `watcher`: whether the answer of a write or the watch is the newer state can only be
//! told with the list's own resourceVersion, which that does not give. The list is consistent (no
//! resourceVersion is asked for), in pages.

use super::reading::{Given, Leniency, without_strange};
use super::store::WentBack;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::{ObjectList, Request};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::HashSet;
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
    /// Of the object of that uid this is not understood, or nothing any more.
    fn strange(&self, uid: &str, why: Option<String>);
    /// What is done about an object that is not understood.
    fn leniency(&self) -> Leniency;
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
enum ListError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("{0}: these controllers are older than what wrote it: upgrade them")]
    Strange(String),
}

/// Reads objects of one kind, and remembers which of them were not understood.
struct Reader<'a, S> {
    client: Client,
    url: String,
    scope: Scope,
    sink: &'a S,
    strange: HashSet<String>,
}

/// What can be done with an object.
enum Taken<K> {
    /// It can be taken in.
    Object(K),
    /// It is left out.
    LeftOut,
    /// Nothing can be decided without it.
    Needed(String),
}

impl<S> Reader<'_, S> {
    /// What can be done with an object that was given.
    fn take<K>(&mut self, given: Given<K>) -> Taken<K>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
        S: Sink<K>,
    {
        let (value, why) = match given {
            Given::Whole(object) => {
                if let Some(uid) = &object.meta().uid
                    && self.strange.remove(uid)
                {
                    self.sink.strange(uid, None);
                }
                return Taken::Object(object);
            }
            Given::Strange(value, why) => (value, why),
        };
        let kind = K::kind(&());
        let name = value["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = value["metadata"]["namespace"].as_str().unwrap_or_default();
        let sentence = format!("{kind} {namespace}/{name}: {why}");
        warn!(%kind, namespace, name, why, "an object is not understood: it was written for newer controllers");
        match self.sink.leniency() {
            Leniency::Dispensable => Taken::LeftOut,
            Leniency::Required => Taken::Needed(sentence),
            Leniency::Partial => match without_strange::<K>(value) {
                Some(object) => {
                    let uid = object.uid().unwrap_or_default();
                    self.sink.strange(&uid, Some(why));
                    self.strange.insert(uid);
                    Taken::Object(object)
                }
                None => Taken::Needed(sentence),
            },
        }
    }
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
    let mut reader = Reader {
        url: api.resource_url().to_owned(),
        client: api.into_client(),
        scope,
        sink: &sink,
        strange: HashSet::new(),
    };
    loop {
        match list(&mut reader).await {
            Ok((objects, version)) => {
                let number = version.parse().unwrap_or(0);
                if let Err(back) = sink.replaced(objects, number) {
                    return back;
                }
                delay = RETRY.0;
                follow(&mut reader, version).await;
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

async fn list<K, S>(reader: &mut Reader<'_, S>) -> Result<(Vec<K>, String), ListError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    S: Sink<K>,
{
    let mut params = ListParams {
        label_selector: reader.scope.label.map(str::to_owned),
        limit: Some(PAGE),
        ..ListParams::default()
    };
    let mut objects = Vec::new();
    loop {
        let request = Request::new(&reader.url).list(&params);
        let request = request.map_err(kube::Error::BuildRequest)?;
        let ObjectList::<Given<K>> {
            metadata, items, ..
        } = reader.client.request(request).await?;
        for given in items {
            match reader.take(given) {
                Taken::Object(mut object) => {
                    reader.sink.trim(&mut object);
                    objects.push(object);
                }
                Taken::LeftOut => {}
                Taken::Needed(what) => return Err(ListError::Strange(what)),
            }
        }
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
async fn follow<K, S>(reader: &mut Reader<'_, S>, mut version: String)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    S: Sink<K>,
{
    let mut delay = RETRY.0;
    loop {
        match watch(reader, version).await {
            End::Closed(next) => {
                version = next;
                delay = RETRY.0;
            }
            End::Gone => return reader.sink.lost(),
            End::Lost(next) => {
                reader.sink.lost();
                sleep(delay).await;
                delay = (delay * 2).min(RETRY.1);
                version = next;
            }
        }
    }
}

async fn watch<K, S>(reader: &mut Reader<'_, S>, mut version: String) -> End
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    S: Sink<K>,
{
    let params = WatchParams {
        label_selector: reader.scope.label.map(str::to_owned),
        timeout: Some(reader.scope.watch_seconds),
        ..WatchParams::default()
    };
    let silence = Duration::from_secs(reader.scope.watch_seconds.into()) + SILENCE_MARGIN;
    let request = match Request::new(&reader.url).watch(&params, &version) {
        Ok(request) => request,
        Err(error) => return ended::<K>(&kube::Error::BuildRequest(error), version),
    };
    let client = reader.client.clone();
    let opened = client.request_events::<Given<K>>(request);
    let mut stream = match timeout(silence, opened).await {
        Ok(Ok(stream)) => stream.boxed(),
        Ok(Err(error)) => return ended::<K>(&error, version),
        Err(_) => return End::Lost(version),
    };
    reader.sink.contact();
    loop {
        let (given, gone) = match timeout(silence, stream.try_next()).await {
            Err(_) => return End::Lost(version),
            Ok(Err(error)) => return ended::<K>(&error, version),
            Ok(Ok(None)) => return End::Closed(version),
            Ok(Ok(Some(event))) => match event {
                WatchEvent::Added(given) | WatchEvent::Modified(given) => (given, false),
                WatchEvent::Deleted(given) => (given, true),
                WatchEvent::Bookmark(mark) => {
                    version = mark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => {
                    return ended::<K>(&kube::Error::Api(status), version);
                }
            },
        };
        // The list says what holds without it.
        let Taken::Object(object) = reader.take(given) else {
            return End::Gone;
        };
        version = of(object.meta().resource_version.as_ref(), version);
        if gone {
            reader.sink.deleted(&object);
        } else {
            reader.sink.seen(object);
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
