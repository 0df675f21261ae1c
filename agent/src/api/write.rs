//! The one module that writes to the API server. Each write is tried once; who asked for it looks
//! anew before another.

use super::NodeApi;
use crate::effect::Effect;
use crate::metrics::Metrics;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::names::{AGENT_LEASE, AGENT_MANAGER, NODE_NAMESPACE_LABEL};
use kilonova_crds::node::{DomainStatus, SegmentObserved};
use kilonova_crds::v1alpha1::{HypervisorSpec, HypervisorStatus};
use kilonova_crds::{Domain, Hypervisor, Segment};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// How long a write may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a write did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object is another one now, or gone (409, 404).
    #[error("the object changed meanwhile")]
    Changed(#[source] kube::Error),
    /// It failed.
    #[error("the API server did not take the write")]
    Failed(#[source] kube::Error),
    /// No answer in time.
    #[error("the API server did not answer in time")]
    Timeout,
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if matches!(status.code, 404 | 409) => Self::Changed(error),
            _ => Self::Failed(error),
        }
    }
}

/// The writer.
#[derive(Clone)]
pub struct Writer {
    own: Client,
    node: NodeApi,
    metrics: Metrics,
}

impl Writer {
    /// A writer with the agent's own token, and with that of the node namespace.
    pub fn new(own: Client, node: NodeApi, metrics: Metrics) -> Self {
        Self { own, node, metrics }
    }

    fn in_namespace<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.node.client.clone(), &self.node.namespace)
    }

    /// Replaces the status of that Domain; refused where it changed since.
    pub async fn domain_status(
        &self,
        domain: &Domain,
        status: DomainStatus,
    ) -> Result<Domain, WriteError> {
        let api: Api<Domain> = self.in_namespace();
        let mut next = domain.clone();
        next.metadata.managed_fields = None;
        next.status = Some(status);
        let (name, params) = (domain.name_any(), posting());
        self.send(
            Effect::ReportDomain,
            "domain",
            api.replace_status(&name, &params, &next),
        )
        .await
    }

    /// Replaces the status of that Segment; refused where it changed since.
    pub async fn segment_status(
        &self,
        segment: &Segment,
        status: SegmentObserved,
    ) -> Result<Segment, WriteError> {
        let api: Api<Segment> = self.in_namespace();
        let mut next = segment.clone();
        next.metadata.managed_fields = None;
        next.status = Some(status);
        let (name, params) = (segment.name_any(), posting());
        self.send(
            Effect::ReportSegment,
            "segment",
            api.replace_status(&name, &params, &next),
        )
        .await
    }

    /// Applies the agent's part of its Hypervisor's status.
    pub async fn hypervisor_status(
        &self,
        node: &str,
        status: &HypervisorStatus,
    ) -> Result<Hypervisor, WriteError> {
        report(&self.own, &self.metrics, node, status).await
    }

    /// Renews the Lease, or makes it. It is the one write that comes again and again, so it is here
    /// that a token which is refused is found out.
    pub async fn renew_lease(&self, holder: &str, seconds: i32) -> Result<(), WriteError> {
        let renewed = self.put_lease(holder, seconds).await;
        if let Err(WriteError::Failed(kube::Error::Api(status))) = &renewed
            && status.code == 401
        {
            self.node.token_refused.notify_one();
        }
        renewed
    }

    async fn put_lease(&self, holder: &str, seconds: i32) -> Result<(), WriteError> {
        let api: Api<Lease> = self.in_namespace();
        let now = MicroTime(Timestamp::now());
        let renewal = json!({"spec": {"renewTime": now, "holderIdentity": holder}});
        let patch = Patch::Merge(&renewal);
        let params = PatchParams {
            field_manager: Some(AGENT_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        match self
            .send(
                Effect::RenewLease,
                "lease",
                api.patch(AGENT_LEASE, &params, &patch),
            )
            .await
        {
            Err(WriteError::Changed(kube::Error::Api(status))) if status.code == 404 => {
                let lease = lease(holder, seconds, now);
                let params = PostParams::default();
                let create = api.create(&params, &lease);
                self.send(Effect::RenewLease, "lease", create)
                    .await
                    .map(drop)
            }
            other => other.map(drop),
        }
    }

    async fn send<T>(
        &self,
        effect: Effect,
        object: &'static str,
        write: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        send(&self.metrics, effect, object, write).await
    }
}

async fn send<T>(
    metrics: &Metrics,
    effect: Effect,
    object: &'static str,
    write: impl Future<Output = kube::Result<T>>,
) -> Result<T, WriteError> {
    let result = match effect.carry_out(timeout(PATIENCE, write)).await {
        Ok(result) => result.map_err(WriteError::from),
        Err(_) => Err(WriteError::Timeout),
    };
    metrics.write(object, result.is_ok());
    result
}

/// Applies the agent's part of its Hypervisor's status, with the agent's own token.
///
/// # Errors
/// When the API server does not take it.
pub async fn report(
    own: &Client,
    metrics: &Metrics,
    node: &str,
    status: &HypervisorStatus,
) -> Result<Hypervisor, WriteError> {
    let api: Api<Hypervisor> = Api::all(own.clone());
    let mut applied = Hypervisor::new(node, HypervisorSpec::default());
    applied.status = Some(status.clone());
    let (params, patch) = (applying(), Patch::Apply(&applied));
    let write = api.patch_status(node, &params, &patch);
    send(metrics, Effect::ReportHypervisor, "hypervisor", write).await
}

/// Makes the Hypervisor of this node, where there is none; its spec is the operator's.
pub async fn register(client: &Client, node: &str) -> kube::Result<Hypervisor> {
    let api: Api<Hypervisor> = Api::all(client.clone());
    if let Some(found) = api.get_opt(node).await? {
        return Ok(found);
    }
    let new = json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Hypervisor",
        "metadata": {"name": node}, "spec": {},
    });
    let (params, patch) = (applying(), Patch::Apply(&new));
    let write = api.patch(node, &params, &patch);
    Effect::Register.carry_out(write).await
}

fn posting() -> PostParams {
    PostParams {
        field_manager: Some(AGENT_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn applying() -> PatchParams {
    PatchParams::apply(AGENT_MANAGER).force()
}

fn lease(holder: &str, seconds: i32, now: MicroTime) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(AGENT_LEASE.to_owned()),
            labels: Some(BTreeMap::from([(
                NODE_NAMESPACE_LABEL.to_owned(),
                String::new(),
            )])),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(seconds),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    }
}
