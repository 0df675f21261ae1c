//! The one module that writes objects to the API (the leader's Lease and Events stand with their
//! own logic). Nothing leaves here without the Lease, each write carries the resourceVersion that
//! it was computed from, and each is given one try: whoever asked decides on another, from what is
//! true then.

mod body;
mod node;

use crate::effect::Effect;
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::world::Cached;
use body::{StatusBody, finalizers_patch};
use kilonova_controllers_core::lifecycle::DomainWrite;
use kilonova_crds::names::{self, CONTROLLERS_MANAGER, NODE_NAMESPACE_LABEL};
use kilonova_crds::node::SegmentSpec;
use kilonova_crds::{Condition, Domain, Segment};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long one write may take; after that nobody knows whether it happened.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a write did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The Lease is not ours any more.
    #[error("not the leader any more")]
    NotLeading,
    /// The object is another one now, or there already (409).
    #[error("the object changed meanwhile")]
    Conflict(#[source] kube::Error),
    /// The object is gone (404).
    #[error("the object is gone")]
    Gone(#[source] kube::Error),
    /// The server refused it: nothing was written.
    #[error("the API server refused the write")]
    Refused(#[source] kube::Error),
    /// No answer, or a broken one: it may have been written.
    #[error("the API server's answer was lost")]
    Unknown(#[source] kube::Error),
    /// No answer in time: it may have been written.
    #[error("the API server did not answer in time")]
    Timeout,
}

impl WriteError {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Conflict(_) | Self::Gone(_) => "conflict",
            _ => "error",
        }
    }
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) => match status.code {
                409 => Self::Conflict(error),
                404 => Self::Gone(error),
                400..=499 => Self::Refused(error),
                _ => Self::Unknown(error),
            },
            kube::Error::BuildRequest(_) => Self::Refused(error),
            _ => Self::Unknown(error),
        }
    }
}

/// The writer.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    leadership: Arc<Leadership>,
    metrics: Metrics,
}

impl Writer {
    /// A writer for as long as the Lease is ours.
    pub fn new(client: Client, leadership: Arc<Leadership>, metrics: Metrics) -> Self {
        Self {
            client,
            leadership,
            metrics,
        }
    }

    /// Replaces the status of that object.
    ///
    /// # Errors
    /// Any [`WriteError`].
    pub async fn status<K: Cached, S: Serialize>(
        &self,
        effect: Effect,
        object: &K,
        status: &S,
    ) -> Result<K, WriteError> {
        let api = K::api(&self.client, object.namespace().as_deref());
        let body = StatusBody::of(object, status);
        let (name, params) = (object.name_any(), post());
        let write = api.replace_subresource("status", &name, &params, &body);
        self.send::<K, _>(effect, "status", write).await
    }

    /// Replaces the conditions of that object and leaves the rest of its status, which newer
    /// controllers may have written; the answer is not read.
    ///
    /// # Errors
    /// Any [`WriteError`].
    pub async fn conditions<K: Cached>(
        &self,
        effect: Effect,
        object: &K,
        conditions: &[Condition],
    ) -> Result<(), WriteError> {
        let resource = ApiResource::erase::<K>(&());
        let client = self.client.clone();
        let api: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => Api::namespaced_with(client, &namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let patch = Patch::Merge(body::conditions_patch(object, conditions));
        let (name, params) = (object.name_any(), patch_params());
        let write = api.patch_status(&name, &params, &patch);
        self.send::<K, _>(effect, "status", write).await.map(drop)
    }

    /// Puts a finalizer on.
    ///
    /// # Errors
    /// Any [`WriteError`].
    pub async fn add_finalizer<K: Cached>(
        &self,
        effect: Effect,
        object: &K,
        finalizer: &str,
    ) -> Result<K, WriteError> {
        let mut finalizers = object.finalizers().to_vec();
        finalizers.push(finalizer.to_owned());
        self.write_finalizers(effect, object, &finalizers, None)
            .await
    }

    /// Takes a finalizer off: fenced, for it lets an object go.
    ///
    /// # Errors
    /// Any [`WriteError`].
    pub async fn remove_finalizer<K: Cached>(
        &self,
        effect: Effect,
        object: &K,
        finalizer: &str,
    ) -> Result<K, WriteError> {
        let mut finalizers = object.finalizers().to_vec();
        finalizers.retain(|f| f != finalizer);
        let fence = Some(self.fence());
        self.write_finalizers(effect, object, &finalizers, fence)
            .await
    }

    async fn write_finalizers<K: Cached>(
        &self,
        effect: Effect,
        object: &K,
        finalizers: &[String],
        fence: Option<String>,
    ) -> Result<K, WriteError> {
        let api = K::api(&self.client, object.namespace().as_deref());
        let patch = Patch::Merge(finalizers_patch(object, finalizers, fence));
        let (name, params) = (object.name_any(), patch_params());
        let write = api.patch(&name, &params, &patch);
        self.send::<K, _>(effect, "finalizer", write).await
    }

    /// Makes the Domain of that Instance.
    ///
    /// # Errors
    /// Any [`WriteError`].
    pub async fn create_domain(&self, uid: &str, write: DomainWrite) -> Result<Domain, WriteError> {
        let mut domain = Domain::new(uid, *write.spec);
        domain.metadata.namespace = Some(names::node_namespace(&write.node));
        body::mark_abandoned(&mut domain.metadata, write.abandoned_at);
        self.create(Effect::CreateDomain, domain).await
    }

    /// Rewrites a Domain.
    ///
    /// # Errors
    /// Any [`WriteError`].
    pub async fn update_domain(
        &self,
        domain: &Domain,
        write: DomainWrite,
    ) -> Result<Domain, WriteError> {
        let mut domain = domain.clone();
        domain.spec = *write.spec;
        body::mark_abandoned(&mut domain.metadata, write.abandoned_at);
        self.replace(Effect::UpdateDomain, domain).await
    }

    /// Makes the Segment of that Network in a node namespace.
    ///
    /// # Errors
    /// Any [`WriteError`].
    pub async fn create_segment(
        &self,
        namespace: &str,
        spec: SegmentSpec,
    ) -> Result<Segment, WriteError> {
        let name = spec.network.uid.clone();
        let mut segment = Segment::new(&name, spec);
        segment.metadata.namespace = Some(namespace.to_owned());
        self.create(Effect::CreateSegment, segment).await
    }

    /// Rewrites a Segment.
    ///
    /// # Errors
    /// Any [`WriteError`].
    pub async fn update_segment(
        &self,
        segment: &Segment,
        spec: SegmentSpec,
    ) -> Result<Segment, WriteError> {
        let mut segment = segment.clone();
        segment.spec = spec;
        self.replace(Effect::UpdateSegment, segment).await
    }

    /// Deletes exactly this state of an object.
    ///
    /// # Errors
    /// Any [`WriteError`].
    pub async fn delete<K: Cached>(&self, effect: Effect, object: &K) -> Result<(), WriteError> {
        let api = K::api(&self.client, object.namespace().as_deref());
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                resource_version: object.resource_version(),
                uid: object.uid(),
            }),
            ..DeleteParams::default()
        };
        let name = object.name_any();
        let write = api.delete(&name, &params);
        let deleted = self.send::<K, _>(effect, "delete", write).await;
        deleted.map(|_| ())
    }

    async fn create<K: Cached + Serialize>(
        &self,
        effect: Effect,
        mut object: K,
    ) -> Result<K, WriteError> {
        let fence = self.fence();
        let metadata = object.meta_mut();
        body::annotate(metadata, names::LEADER_ANNOTATION, fence);
        let labels = metadata.labels.get_or_insert_default();
        labels.insert(NODE_NAMESPACE_LABEL.to_owned(), String::new());
        let api = K::api(&self.client, object.namespace().as_deref());
        let params = post();
        let write = api.create(&params, &object);
        self.send::<K, _>(effect, "create", write).await
    }

    async fn replace<K: Cached + Serialize>(
        &self,
        effect: Effect,
        mut object: K,
    ) -> Result<K, WriteError> {
        let fence = self.fence();
        body::annotate(object.meta_mut(), names::LEADER_ANNOTATION, fence);
        let api = K::api(&self.client, object.namespace().as_deref());
        let (name, params) = (object.name_any(), post());
        let write = api.replace(&name, &params, &object);
        self.send::<K, _>(effect, "update", write).await
    }

    /// The number of our leadership, as fenced writes carry it.
    fn fence(&self) -> String {
        self.leadership.transitions().to_string()
    }

    /// Sends one write, while the Lease is ours.
    async fn send<K: Resource<DynamicType = ()>, T>(
        &self,
        effect: Effect,
        verb: &'static str,
        write: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        let result = if self.leadership.holds() {
            match effect.carry_out(timeout(PATIENCE, write)).await {
                Ok(result) => result.map_err(WriteError::from),
                Err(_) => Err(WriteError::Timeout),
            }
        } else {
            Err(WriteError::NotLeading)
        };
        let outcome = result.as_ref().err().map_or("ok", WriteError::outcome);
        let kind = K::kind(&());
        let labels = [kind.as_ref(), verb, outcome];
        self.metrics.writes.with_label_values(&labels).inc();
        result
    }
}

fn post() -> PostParams {
    PostParams {
        field_manager: Some(CONTROLLERS_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn patch_params() -> PatchParams {
    PatchParams {
        field_manager: Some(CONTROLLERS_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}
