//! Clients of the API server.

use std::path::Path;

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{Error, Result};

/// A client with a kubeconfig's credentials, or with a token in their place.
///
/// # Errors
/// When the kubeconfig cannot be used.
pub async fn client_for(kubeconfig: &Path, token: Option<&str>) -> Result<Client> {
    let unusable = |error| Error::Kubeconfig(Box::new(error));
    let mut file = Kubeconfig::read_from(kubeconfig).map_err(unusable)?;
    if let Some(token) = token {
        for user in &mut file.auth_infos {
            user.auth_info = Some(kube::config::AuthInfo {
                token: Some(token.to_owned().into()),
                ..Default::default()
            });
        }
    }
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(unusable)?;
    Client::try_from(config).map_err(Error::api("make a client"))
}
