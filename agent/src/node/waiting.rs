//! Telling the cluster, before there is libvirt, that it is missing.

use crate::api::report;
use crate::metrics::Metrics;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kilonova_agent_core::hypervisor::{differs, without_libvirt};
use kilonova_common::telemetry::chain;
use kilonova_crds::Hypervisor;
use kube::{Client, ResourceExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::warn;

/// How often libvirt is tried again at the start.
pub const LIBVIRT_RETRY: Duration = Duration::from_secs(2);

/// A node whose libvirt has not answered yet.
pub struct Waiting {
    /// The client with the agent's own token.
    pub own: Client,
    /// Metrics.
    pub metrics: Metrics,
    /// The Hypervisor as the API server last answered.
    pub hypervisor: Hypervisor,
    /// Made true once the cluster knows.
    pub told: Arc<AtomicBool>,
}

impl Waiting {
    /// Says what is wrong, where that is news. Tried again with the next trouble.
    pub async fn tell(&mut self, trouble: &str) {
        let previous = self.hypervisor.status.as_ref();
        let status = without_libvirt(previous, trouble, &Time(Timestamp::now()));
        if differs(previous, &status) {
            let name = self.hypervisor.name_any();
            match report(&self.own, &self.metrics, &name, &status).await {
                Ok(written) => self.hypervisor = written,
                Err(error) => {
                    let error = chain(&error);
                    return warn!(error, "cannot say that libvirt is missing");
                }
            }
        }
        self.told.store(true, Ordering::Relaxed);
    }
}
