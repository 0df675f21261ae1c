//! What the cluster is told of this node: its Hypervisor, and by a Lease that its agent lives.

mod fitness;
mod probe;
mod waiting;

pub use fitness::Fitness;
pub use probe::{ProbeError, virtualization};
pub use waiting::{Trouble, WAIT, Waiting};

use crate::api::{WriteError, register};
use crate::jitter::Jitter;
use crate::runner::{Runner, kernel_release};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kilonova_agent_core::hypervisor::{self, NodeReport, differs};
use kilonova_agent_core::needs::Lack;
use kilonova_agent_core::observed::{LibvirtDomain, NodeFacts};
use kilonova_common::telemetry::chain;
use kilonova_crds::Hypervisor;
use kilonova_crds::v1alpha1::{HypervisorStatus, Share};
use kube::Client;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// At most this long between two renewals of the Lease; four may be missed before the node counts as lost.
const RENEW: Duration = Duration::from_secs(10);
/// What the Lease says of itself, in seconds.
const LEASE_SECONDS: i32 = 40;
/// How often a renewal or a report that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How often the node is looked at when nothing tells of a change.
const LOOK: Duration = Duration::from_mins(1);
/// How often it is made sure that the Hypervisor is still there.
const VERIFY_EVERY: u32 = 5;

/// Why the cluster was not told of this node. Until it was, its orphans are not known, and no Lease
/// says that its agent is at work.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is not known what lies here.
    #[error("cannot read the state directory")]
    Storage(#[from] kilonova_agent_storage::Error),
    /// It was not taken.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The reporter of this node.
pub struct Node {
    /// Its name.
    pub name: String,
    /// The client with the agent's own token.
    pub own: Client,
    /// What libvirt said of it.
    pub facts: NodeFacts,
    /// What it lacks.
    pub fitness: Arc<Fitness>,
    /// The part of it that instances may use; `None`: all of it.
    pub share: Option<Share>,
    /// The Hypervisor as the API server last answered.
    pub last: Mutex<Option<Hypervisor>>,
    /// Whether the cluster was told what this node is, and what it lacks.
    pub told: Arc<AtomicBool>,
}

/// What was seen of the node, but for its files and NICs.
struct Seen<'a> {
    domains: &'a [LibvirtDomain],
    trouble: Option<&'a str>,
    lacks: &'a [Lack],
}

impl Node {
    /// Reports once; nothing is written where nothing differs.
    async fn report(&self, runner: &Runner) -> Result<(), ReportError> {
        let parts = runner.parts();
        let (domains, trouble) = match parts.libvirt.list().await {
            Ok(domains) => (domains, None),
            Err(error) => (Vec::new(), Some(chain(&error))),
        };
        parts.metrics.libvirt_up.set(i64::from(trouble.is_none()));
        let previous = self.last.lock().clone();
        let previous_status = previous.as_ref().and_then(|h| h.status.as_ref());
        let answers = trouble.is_none().then_some(&parts.libvirt);
        let lacks = self.fitness.lacks(answers).await;
        let seen = Seen {
            domains: &domains,
            trouble: trouble.as_deref(),
            lacks: &lacks,
        };
        let mut status = match self.status(runner, &seen, previous.as_ref()).await {
            Ok(status) => status,
            Err(error) => {
                // What is wrong is told; that nothing else was, the error says.
                let (nics, now) = (self.fitness.has_nics(), Time(Timestamp::now()));
                let status = hypervisor::waiting(previous_status, seen.trouble, &lacks, nics, &now);
                self.write(runner, previous_status, &status).await?;
                return Err(error);
            }
        };
        if trouble.is_some() {
            // What cannot be seen now is what it was.
            let kept = previous_status.cloned().unwrap_or_default();
            status.foreign = kept.foreign.or(status.foreign);
            status.orphans = kept.orphans;
        }
        runner.report_orphans(status.orphans.iter().map(|o| o.uuid.clone()).collect());
        Ok(self.write(runner, previous_status, &status).await?)
    }

    /// Writes the agent's part of the status, where anything differs.
    async fn write(
        &self,
        runner: &Runner,
        previous: Option<&HypervisorStatus>,
        status: &HypervisorStatus,
    ) -> Result<(), WriteError> {
        if differs(previous, status) {
            let writer = &runner.parts().writer;
            let written = writer.hypervisor_status(&self.name, status).await;
            *self.last.lock() = match written {
                Ok(written) => Some(written),
                Err(error) => {
                    *self.last.lock() = None;
                    return Err(error);
                }
            };
        }
        Ok(())
    }

    async fn status(
        &self,
        runner: &Runner,
        seen: &Seen<'_>,
        previous: Option<&Hypervisor>,
    ) -> Result<HypervisorStatus, ReportError> {
        let parts = runner.parts();
        let files = parts.storage.instances().list().await?;
        let capacity = parts.storage.capacity()?;
        let own: u64 = files
            .iter()
            .filter_map(|f| Some(f.disk.as_ref()?.allocated_bytes))
            .sum();
        let own = own.saturating_add(parts.storage.images().used().await.unwrap_or(0));
        let used = capacity.total.saturating_sub(capacity.free);
        let nics = parts.network.nics().await;
        let report = NodeReport {
            cluster_id: &parts.settings.cluster_id,
            facts: Some(&self.facts),
            libvirt_trouble: seen.trouble,
            lacks: seen.lacks,
            virtualization: Some(parts.settings.virtualization),
            domains: seen.domains,
            files: &files,
            declared: &parts.world.uuids(),
            nics: &nics,
            disk_total: capacity.total,
            disk_foreign: used.saturating_sub(own),
            share: self.share.as_ref(),
            kernel: &kernel_release(),
            agent: env!("CARGO_PKG_VERSION"),
            generation: previous.and_then(|h| h.metadata.generation),
        };
        let status = previous.and_then(|h| h.status.as_ref());
        Ok(report.status(status, &Time(Timestamp::now())))
    }

    /// Reports whenever something may have changed, for ever.
    pub async fn keep_reported(self: Arc<Self>, runner: Arc<Runner>) {
        let mut looks = 0;
        loop {
            let pause = if self.fitness.is_fit().await {
                LOOK
            } else {
                fitness::LACKING
            };
            // Which of the two it was makes no difference.
            let _ = timeout(pause, runner.census_due()).await;
            looks += 1;
            if looks % VERIFY_EVERY == 0 {
                self.verify().await;
            }
            self.report_until_taken(&runner).await;
        }
    }

    /// Reports until the API server took it.
    pub async fn report_until_taken(&self, runner: &Runner) {
        while let Err(error) = self.report(runner).await {
            warn!(error = chain(&error), "cannot report this node");
            sleep(RETRY).await;
            self.verify().await;
        }
        self.told.store(true, Ordering::Relaxed);
    }

    /// Makes sure that the Hypervisor is there, and knows it as it is.
    async fn verify(&self) {
        match register(&self.own, &self.name).await {
            Ok(found) => *self.last.lock() = Some(found),
            Err(error) => warn!(%error, "cannot read this node's Hypervisor"),
        }
    }

    /// Renews the Lease, for ever.
    pub async fn keep_alive(self: Arc<Self>, runner: Arc<Runner>) {
        let writer = &runner.parts().writer;
        let mut jitter = Jitter::of(&self.name);
        loop {
            let pause = match writer.renew_lease(&self.name, LEASE_SECONDS).await {
                Ok(()) => RENEW,
                Err(error) => {
                    warn!(error = chain(&error), "cannot renew the Lease");
                    RETRY
                }
            };
            sleep(jitter.next(pause)).await;
        }
    }
}
