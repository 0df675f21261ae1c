//! What controllers and agent show the user's cluster: tokens of their own accounts, and nothing of the user's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kilonova_crds::names;
use kilonova_e2e::{Error, Result, lab};
use kube::config::{AuthInfo, Context, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};

use super::{cluster::Cluster, dir, json};

/// The only name of everything in a kubeconfig of ours.
const NAME: &str = "kilonova";

/// A kubeconfig of the controllers.
pub(super) async fn controllers(cluster: &Cluster) -> Result<PathBuf> {
    write(cluster, names::CONTROLLERS_SERVICE_ACCOUNT, None).await
}

/// A kubeconfig of the agent: its token is bound to this machine's Node.
pub(super) async fn agent(cluster: &Cluster) -> Result<PathBuf> {
    write(cluster, names::AGENT_SERVICE_ACCOUNT, Some(&cluster.node)).await
}

async fn write(cluster: &Cluster, account: &str, node: Option<&str>) -> Result<PathBuf> {
    let directory = dir().join("credentials");
    fs::create_dir_all(&directory).map_err(Error::file("create", &directory))?;
    let token = lab::account_token(&cluster.client, account, node).await?;
    let token_file = directory.join(format!("{account}.token"));
    lab::write_private(&token_file, &token)?;
    let path = directory.join(format!("{account}.kubeconfig"));
    let kubeconfig = with_token(cluster, &token_file)?;
    let text = serde_json::to_string_pretty(&kubeconfig).map_err(json(&path))?;
    lab::write_private(&path, &text)?;
    Ok(path)
}

/// The way to the user's cluster, with another's token.
fn with_token(cluster: &Cluster, token: &Path) -> Result<Kubeconfig> {
    let user = &cluster.kubeconfig;
    let mut contexts = user.contexts.iter().filter(|c| c.name == cluster.context);
    let named = contexts.find_map(|c| c.context.as_ref());
    let mut clusters = user.clusters.iter();
    let found = named.and_then(|context| clusters.find(|c| c.name == context.cluster));
    let found = found.ok_or_else(|| Error::Missing {
        what: format!(
            "the cluster of context {:?} in the kubeconfig",
            cluster.context
        ),
        remedy: "choose another context with kubectl config use-context".to_owned(),
    })?;
    Ok(Kubeconfig {
        clusters: vec![NamedCluster {
            name: NAME.to_owned(),
            cluster: found.cluster.clone(),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: NAME.to_owned(),
            auth_info: Some(AuthInfo {
                token_file: Some(token.display().to_string()),
                ..AuthInfo::default()
            }),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: NAME.to_owned(),
            context: Some(Context {
                cluster: NAME.to_owned(),
                user: Some(NAME.to_owned()),
                ..Context::default()
            }),
            ..NamedContext::default()
        }],
        current_context: Some(NAME.to_owned()),
        ..Kubeconfig::default()
    })
}
