//! What an installation is, as the API server tells it.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Event, Pod};
use kilonova_crds::Hypervisor;
use kube::api::ListParams;
use kube::{Api, Client};

/// The controllers' Deployment.
pub const DEPLOYMENT: &str = "kilonova-controllers";
/// What selects the pods of the controllers.
const CONTROLLERS: &str = "app.kubernetes.io/component=controllers";
/// What selects the sets of the agents, and their pods.
const AGENTS: &str = "app.kubernetes.io/component=agent";
/// What selects the events that tell of refused pods.
const REFUSED: &str = "reason=FailedCreate";

/// What could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what}")]
pub struct FactError {
    /// Which objects.
    what: &'static str,
    /// Why.
    #[source]
    source: kube::Error,
}

/// What is there.
#[derive(Debug, Default)]
pub struct Facts {
    /// The Deployment of the controllers.
    pub deployment: Option<Deployment>,
    /// Its pods.
    pub controllers: Vec<Pod>,
    /// The agents' sets, one for each node group.
    pub groups: Vec<DaemonSet>,
    /// Their pods.
    pub agents: Vec<Pod>,
    /// What refused pods, in either namespace.
    pub refusals: Vec<Event>,
    /// The Hypervisors.
    pub hypervisors: Vec<Hypervisor>,
}

/// Reads it.
///
/// # Errors
/// When something cannot be read.
pub async fn read(client: &Client, namespace: &str, agents: &str) -> Result<Facts, FactError> {
    let failed = |what| move |source| FactError { what, source };
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), agents);
    let pods = |namespace| Api::<Pod>::namespaced(client.clone(), namespace);
    let hypervisors: Api<Hypervisor> = Api::all(client.clone());
    let selected = |labels| ListParams::default().labels(labels);
    let (of_controllers, of_agents) = (selected(CONTROLLERS), selected(AGENTS));
    let mut refusals = Vec::new();
    for namespace in [namespace, agents] {
        let events: Api<Event> = Api::namespaced(client.clone(), namespace);
        let list = events.list(&ListParams::default().fields(REFUSED)).await;
        refusals.extend(list.map_err(failed("Events"))?.items);
    }
    let found = hypervisors.list(&ListParams::default()).await;
    let pods_of = async |namespace, selector| {
        let list = pods(namespace).list(selector).await;
        list.map(|list| list.items).map_err(failed("pods"))
    };
    let deployment = deployments.get_opt(DEPLOYMENT).await;
    let groups = daemon_sets.list(&of_agents).await;
    Ok(Facts {
        deployment: deployment.map_err(failed("the Deployment of the controllers"))?,
        controllers: pods_of(namespace, &of_controllers).await?,
        groups: groups.map_err(failed("the agents' DaemonSets"))?.items,
        agents: pods_of(agents, &of_agents).await?,
        refusals,
        hypervisors: found
            .map_err(failed(
                "Hypervisors (is the chart kilonova-crds installed?)",
            ))?
            .items,
    })
}
