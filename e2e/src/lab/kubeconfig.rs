//! Kubeconfig files. Written as JSON, which is YAML.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    network,
    pki::{Pki, write_private},
};
use crate::Result;

/// Who the bearer of a kubeconfig is.
pub(super) enum User<'a> {
    /// A client certificate of the lab's authority, by the name of its files.
    Certificate(&'a str),
    /// A token in a file, read again when it changes.
    TokenFile(&'a Path),
}

/// The API server as processes of the lab reach it.
pub(super) fn lab_server() -> String {
    format!("https://{}:{}", network::CONTROL_PLANE, network::API_PORT)
}

/// Writes a kubeconfig that only its owner may read.
pub(super) fn write(path: &Path, server: &str, pki: &Pki, user: &User<'_>) -> Result<()> {
    let credentials: Value = match user {
        User::Certificate(name) => json!({
            "client-certificate": pki.path(&format!("{name}.crt")),
            "client-key": pki.path(&format!("{name}.key")),
        }),
        User::TokenFile(path) => json!({ "tokenFile": path }),
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": server, "certificate-authority": pki.path("ca.crt")}}],
        "users": [{"name": "lab", "user": credentials}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "current-context": "lab",
    });
    write_private(path, &format!("{config:#}\n"))
}
