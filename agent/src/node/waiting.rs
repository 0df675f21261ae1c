//! Telling the cluster, before this agent works, what it waits for.

use super::Fitness;
use crate::api::report;
use crate::metrics::Metrics;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kilonova_agent_core::hypervisor::{self, differs};
use kilonova_agent_core::needs::{Lack, Need};
use kilonova_common::telemetry::chain;
use kilonova_crds::Hypervisor;
use kube::{Client, ResourceExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::warn;

/// How often what is waited for is tried again.
pub const WAIT: Duration = Duration::from_secs(2);

/// What an agent cannot work without.
pub enum Trouble<'a> {
    /// libvirt: what is wrong with it.
    Libvirt(&'a str),
    /// The state directory: why it cannot be used.
    StateDirectory(&'a kilonova_agent_storage::Error),
}

/// A node whose agent does not work yet.
pub struct Waiting {
    /// The client with the agent's own token.
    pub own: Client,
    /// Metrics.
    pub metrics: Metrics,
    /// The Hypervisor as the API server last answered.
    pub hypervisor: Hypervisor,
    /// Made true once the cluster knows.
    pub told: Arc<AtomicBool>,
    /// What else the node lacks.
    pub fitness: Arc<Fitness>,
}

impl Waiting {
    /// Says what is wrong, where that is news. Tried again with the next trouble.
    pub async fn tell(&mut self, trouble: Trouble<'_>) {
        let mut lacks = self.fitness.lacks(None).await;
        let libvirt = match trouble {
            Trouble::Libvirt(trouble) => Some(trouble),
            Trouble::StateDirectory(error) => {
                lacks.retain(|lack| lack.need != Need::StateDirectory);
                let why = chain(error);
                let need = Need::StateDirectory;
                lacks.insert(0, Lack { need, why });
                None
            }
        };
        let previous = self.hypervisor.status.as_ref();
        let (nics, now) = (self.fitness.has_nics(), Time(Timestamp::now()));
        let status = hypervisor::waiting(previous, libvirt, &lacks, nics, &now);
        if differs(previous, &status) {
            let name = self.hypervisor.name_any();
            match report(&self.own, &self.metrics, &name, &status).await {
                Ok(written) => self.hypervisor = written,
                Err(error) => {
                    let error = chain(&error);
                    return warn!(error, "cannot say what this node waits for");
                }
            }
        }
        self.told.store(true, Ordering::Relaxed);
    }
}
