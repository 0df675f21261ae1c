//! The way to the API server: two tokens, and what may be done with each.
//!
//! The agent's own token (its pod's) reports the Hypervisor of its Node and asks for the token of
//! the node namespace; that one does everything else. Admission policies hold both to this Node.

mod token;
mod write;

pub use write::{WriteError, Writer, register, report};

use crate::jitter::Jitter;
use k8s_openapi::api::core::v1::Namespace;
use kilonova_crds::Domain;
use kilonova_crds::names::{self, CLUSTER_ID_ANNOTATION};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config, ResourceExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{info, warn};

/// How often it is tried again to reach what is not there yet.
const RETRY: Duration = Duration::from_secs(1);

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The kubeconfig cannot be read.
    #[error("cannot read the kubeconfig")]
    Kubeconfig(#[source] Box<KubeconfigError>),
    /// This is no pod, and no kubeconfig was given.
    #[error("no --kubeconfig was given, and this is no pod of a cluster")]
    InCluster(#[source] Box<kube::config::InClusterError>),
    /// No client can be made of it.
    #[error("cannot make a client for the API server")]
    Client(#[source] Box<kube::Error>),
    /// The token cannot be kept.
    #[error("cannot keep the node's token in {path}", path = path.display())]
    Token {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The agent's own token.
#[derive(Clone)]
pub struct Bootstrap {
    config: Config,
    client: Client,
    node: String,
}

impl Bootstrap {
    /// Reads the credentials.
    ///
    /// # Errors
    /// When there are none.
    pub async fn new(kubeconfig: Option<&Path>, node: &str) -> Result<Self, ApiError> {
        let config = match kubeconfig {
            Some(path) => {
                let failed = |e| ApiError::Kubeconfig(Box::new(e));
                let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
                let options = KubeConfigOptions::default();
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(failed)?
            }
            None => Config::incluster().map_err(|e| ApiError::InCluster(Box::new(e)))?,
        };
        Ok(Self {
            client: client(config.clone())?,
            config,
            node: node.to_owned(),
        })
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The way into the node namespace, once the controllers have made it. `directory` keeps the
    /// token, readable for root only. Waits until all of it is there.
    ///
    /// # Errors
    /// When the token cannot be kept.
    pub async fn enter(&self, directory: &Path) -> Result<NodeApi, ApiError> {
        let namespace = names::node_namespace(&self.node);
        let tokens = token::Tokens::new(self.client.clone(), &namespace, directory);
        let mut told = false;
        let mut jitter = Jitter::of(&self.node);
        let expires = loop {
            match tokens.renew().await {
                Ok(expires) => break expires,
                Err(token::TokenError::Keep(error)) => return Err(error),
                Err(token::TokenError::Refused(error)) if !told => {
                    info!(%namespace, %error, "waiting for the controllers to make the node namespace");
                    told = true;
                }
                Err(token::TokenError::Refused(_)) => {}
            }
            sleep(jitter.next(RETRY)).await;
        };
        let mut config = self.config.clone();
        config.auth_info = AuthInfo {
            token_file: Some(tokens.path().display().to_string()),
            ..AuthInfo::default()
        };
        let client = client(config)?;
        let token_refused = Arc::new(Notify::new());
        tokio::spawn(tokens.keep_fresh(expires, Arc::clone(&token_refused)));
        Ok(NodeApi {
            cluster_id: cluster_id(&client, &namespace).await,
            client,
            namespace,
            token_refused,
        })
    }
}

/// What reads and writes in the node namespace.
#[derive(Clone)]
pub struct NodeApi {
    /// The client with the node's token.
    pub client: Client,
    /// The node namespace.
    pub namespace: String,
    /// Id of the cluster, as the node namespace says it.
    pub cluster_id: String,
    /// Tells that the API server refuses the node's token.
    pub token_refused: Arc<Notify>,
}

impl NodeApi {
    /// The Domain as it is now; `None` where it is gone.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn domain(&self, name: &str) -> kube::Result<Option<Domain>> {
        let domains: Api<Domain> = Api::namespaced(self.client.clone(), &self.namespace);
        domains.get_opt(name).await
    }
}

fn client(config: Config) -> Result<Client, ApiError> {
    Client::try_from(config).map_err(|error| ApiError::Client(Box::new(error)))
}

/// Waits until the node namespace says which cluster this is.
async fn cluster_id(client: &Client, namespace: &str) -> String {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    loop {
        match namespaces.get(namespace).await {
            Ok(found) => match found.annotations().get(CLUSTER_ID_ANNOTATION) {
                Some(id) if !id.is_empty() => return id.clone(),
                _ => warn!(
                    namespace,
                    "the node namespace does not say which cluster it is of"
                ),
            },
            Err(error) => warn!(namespace, %error, "cannot read the node namespace"),
        }
        sleep(RETRY).await;
    }
}
