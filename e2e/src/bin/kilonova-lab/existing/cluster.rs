//! The user's cluster, as the user's kubeconfig leads there.

use k8s_openapi::api::core::v1::Namespace;
use kilonova_crds::condition::{is_true, types};
use kilonova_crds::{Domain, Hypervisor, names};
use kilonova_e2e::{Error, Result};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::json;
use tokio::time::timeout;

use super::ANSWER;

/// The cluster, and this machine's Node in it.
pub(super) struct Cluster {
    /// A client with the user's rights.
    pub client: Client,
    /// Which one it is: the uid of its namespace kube-system.
    pub id: String,
    /// The kubeconfig that leads there.
    pub kubeconfig: Kubeconfig,
    /// The context in it.
    pub context: String,
    /// This machine's Node.
    pub node: String,
}

impl Cluster {
    /// The cluster of the current context of the user's kubeconfig.
    pub async fn of_user(node: Option<String>) -> Result<Self> {
        let kubeconfig = Kubeconfig::read().map_err(unusable)?;
        let context = kubeconfig.current_context.clone().unwrap_or_default();
        Self::new(kubeconfig, context, node.map_or_else(host_name, Ok)?).await
    }

    /// The cluster that was found before.
    pub async fn recorded(context: &str, kubeconfig: Option<&str>, node: &str) -> Result<Self> {
        let mut read = Kubeconfig::default();
        match kubeconfig {
            Some(paths) => {
                for path in std::env::split_paths(paths).filter(|p| !p.as_os_str().is_empty()) {
                    let next = Kubeconfig::read_from(path).map_err(unusable)?;
                    read = read.merge(next).map_err(unusable)?;
                }
            }
            None => read = Kubeconfig::read().map_err(unusable)?,
        }
        Self::new(read, context.to_owned(), node.to_owned()).await
    }

    async fn new(kubeconfig: Kubeconfig, context: String, node: String) -> Result<Self> {
        let options = KubeConfigOptions {
            context: Some(context.clone()),
            ..KubeConfigOptions::default()
        };
        let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &options).await;
        let config = config.map_err(unusable)?;
        let client = Client::try_from(config).map_err(Error::api("make a client"))?;
        let id = id(&client, &context).await?;
        Ok(Self {
            client,
            id,
            kubeconfig,
            context,
            node,
        })
    }

    /// Whether the node's Hypervisor is Ready; else how it is.
    pub async fn hypervisor_ready(&self) -> Result<(), String> {
        let api: Api<Hypervisor> = Api::all(self.client.clone());
        let found = api.get_opt(&self.node).await.map_err(|e| e.to_string())?;
        let found = found.ok_or("the agent has not registered")?;
        let conditions = found.status.map(|s| s.conditions).unwrap_or_default();
        if is_true(&conditions, types::READY) {
            return Ok(());
        }
        Err(format!("{conditions:?}"))
    }

    /// A Hypervisor of another node, if there is one: its agent lives by what is installed.
    pub async fn another_node(&self) -> Result<Option<String>> {
        let api: Api<Hypervisor> = Api::all(self.client.clone());
        let list = api.list(&ListParams::default()).await;
        let list = list.map_err(Error::api("list the Hypervisors"))?;
        let mut names = list.items.iter().map(ResourceExt::name_any);
        Ok(names.find(|name| *name != self.node))
    }

    /// Takes the node's Hypervisor and node namespace out, unless there is a Domain; false: there is.
    pub async fn remove_node(&self) -> Result<bool> {
        let namespace = names::node_namespace(&self.node);
        let domains: Api<Domain> = Api::namespaced(self.client.clone(), &namespace);
        let failed = || Error::api(format!("take out the node {}", self.node));
        let list = domains.list(&ListParams::default().limit(1)).await;
        if !list.map_err(failed())?.items.is_empty() {
            return Ok(false);
        }
        let hypervisors: Api<Hypervisor> = Api::all(self.client.clone());
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let allow = json!({"metadata": {"annotations": {names::ALLOW_DELETE_ANNOTATION: "true"}}});
        let allow = Patch::Merge(allow);
        let (annotate, delete) = (PatchParams::default(), DeleteParams::default());
        let deleted = hypervisors.delete(&self.node, &delete).await.map(drop);
        unless_missing(deleted).map_err(failed())?;
        let allowed = namespaces.patch(&namespace, &annotate, &allow);
        unless_missing(allowed.await.map(drop)).map_err(failed())?;
        let deleted = namespaces.delete(&namespace, &delete).await.map(drop);
        unless_missing(deleted).map_err(failed())?;
        Ok(true)
    }
}

async fn id(client: &Client, context: &str) -> Result<String> {
    let api: Api<Namespace> = Api::all(client.clone());
    let remedy = "check KUBECONFIG, or kubectl config current-context";
    let found = timeout(ANSWER, api.get("kube-system")).await;
    let said = match found {
        Ok(Ok(namespace)) => return Ok(namespace.uid().unwrap_or_default()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer in {ANSWER:?}"),
    };
    Err(Error::Missing {
        what: format!("an API server behind the context {context:?}"),
        remedy: format!("{remedy}: {said}"),
    })
}

fn unless_missing(result: kube::Result<()>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other,
    }
}

fn unusable(error: kube::config::KubeconfigError) -> Error {
    Error::Kubeconfig(Box::new(error))
}

fn host_name() -> Result<String> {
    let path = "/proc/sys/kernel/hostname";
    let name = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    Ok(name.trim().to_lowercase())
}
