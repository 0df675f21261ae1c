//! KeyPair: a public key that guests let in.

use crate::{Condition, schema};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A public ssh key; immutable.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "kilonova.dev",
    version = "v1alpha1",
    kind = "KeyPair",
    namespaced,
    shortname = "kp",
    status = "KeyPairStatus",
    derive = "PartialEq",
    category = "kilonova",
    doc = "A public ssh key that guests let in.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("a KeyPair's name has at most 63 characters"),
    printcolumn(name = "Fingerprint", type_ = "string", json_path = ".status.fingerprint"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a KeyPair is immutable: make another one"))]
pub struct KeyPairSpec {
    /// The public key in OpenSSH's one-line form: `ssh-ed25519 AAAA… comment`.
    #[schemars(length(max = 4096))]
    #[x_kube(validation = Rule::new("self.matches('^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh[.]com|sk-ecdsa-sha2-nistp256@openssh[.]com) AAAA[A-Za-z0-9+/]{32,}={0,2}( [^\\\\n\\\\r]*)?$')").message("publicKey is no public key in OpenSSH's form (ssh-ed25519 AAAA… comment); never give a private key"))]
    pub public_key: String,
}

/// What the controllers computed from the key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyPairStatus {
    /// The `metadata.generation` that this status is of; -1 before the first.
    #[serde(default)]
    pub observed_generation: i64,
    /// `SHA256:` and the unpadded base64 of the key's hash, as `ssh-keygen -l` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// `Ready`: the key decodes to the type that it names.
    #[serde(default)]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
