//! `kilonova-controllers check`: whether an installation is ready, and if not, why. This is what
//! `helm test` runs. It reads, and writes nothing.

mod facts;
mod verdict;

use clap::Args;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Event, Pod};
use kilonova_crds::Hypervisor;
use kilonova_crds::names::NODE_GROUP_LABEL;
use kube::api::ListParams;
use kube::{Api, Client};
use std::time::Duration;
use tokio::time::{Instant, sleep};

use crate::names::CONTROLLERS_DEPLOYMENT;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(2);

/// What is checked.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Namespace of the agents' pods.
    #[arg(
        long,
        env = "KILONOVA_AGENTS_NAMESPACE",
        default_value = "kilonova-agents"
    )]
    pub agents_namespace: String,
    /// How long it may take until everything is ready, in seconds.
    #[arg(long, env = "KILONOVA_CHECK_TIMEOUT_SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub timeout_seconds: u32,
}
