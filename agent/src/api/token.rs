//! The token of the node namespace: asked for, kept in a file that only root reads, renewed in
//! time.

use super::ApiError;
use crate::effect::Effect;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::names::NODE_SERVICE_ACCOUNT;
use kube::api::PostParams;
use kube::{Api, Client};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::warn;

/// How long a token is asked for, in seconds: an hour, as a pod's.
const LIFE_SECONDS: i64 = 3600;
/// How often a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The API server gives none: the namespace is not there yet, or it is not ours.
    #[error("the API server gives no token")]
    Refused(#[source] kube::Error),
    /// It cannot be kept.
    #[error(transparent)]
    Keep(ApiError),
}

/// Where tokens come from and where they are kept.
pub struct Tokens {
    accounts: Api<ServiceAccount>,
    path: PathBuf,
}

impl Tokens {
    pub fn new(client: Client, namespace: &str, directory: &Path) -> Self {
        Self {
            accounts: Api::namespaced(client, namespace),
            path: directory.join("token"),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks for a token and keeps it. Gives how long it is good for.
    pub async fn renew(&self) -> Result<Duration, TokenError> {
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(LIFE_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let account = NODE_SERVICE_ACCOUNT;
        let answer = self
            .accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .map_err(TokenError::Refused)?;
        let status = answer.status.unwrap_or_default();
        let token = status.token.unwrap_or_default();
        let kept = async { self.keep(&token) };
        let kept = Effect::KeepToken.carry_out(kept).await;
        kept.map_err(|source| {
            let path = self.path.clone();
            TokenError::Keep(ApiError::Token { path, source })
        })?;
        let left = status
            .expiration_timestamp
            .map(|end| end.0.duration_since(Timestamp::now()));
        Ok(left
            .and_then(|left| left.try_into().ok())
            .unwrap_or_default())
    }

    /// Renews it for ever, a fifth of its life before its end; sooner when the API server refuses
    /// it: its account is another one where the node namespace was deleted and made anew.
    pub async fn keep_fresh(self, mut good_for: Duration, refused: Arc<Notify>) {
        loop {
            // The client reads the file once a minute: what it still refuses then is the old one.
            sleep(RETRY).await;
            tokio::select! {
                () = sleep((good_for * 4 / 5).saturating_sub(RETRY)) => {}
                () = refused.notified() => {}
            }
            loop {
                match self.renew().await {
                    Ok(life) => break good_for = life,
                    Err(error) => warn!(%error, "cannot renew the node's token"),
                }
                sleep(RETRY).await;
            }
        }
    }

    /// Writes it under another name first, so that a reader finds the old one or the new one.
    fn keep(&self, token: &str) -> std::io::Result<()> {
        if let Some(directory) = self.path.parent() {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o711).create(directory)?;
        }
        let new = self.path.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&new)?.write_all(token.as_bytes())?;
        std::fs::rename(&new, &self.path)
    }
}
