//! KeyPair.status: the fingerprint, and whether the text is the key that it says.

use k8s_openapi::jiff::Timestamp;
use kilonova_crds::v1alpha1::{KeyPair, KeyPairStatus};

/// The text is no public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It has not the form `type base64 comment`.
    #[error("it has not the form of a public key: type, base64, comment")]
    Form,
    /// The middle is no base64.
    #[error("its second word is no base64")]
    Base64(#[from] base64::DecodeError),
    /// The key inside is of another type than its first word says.
    #[error("it says {named:?} and holds {held:?}")]
    Type {
        /// The first word.
        named: String,
        /// The type in the key.
        held: String,
    },
    /// The key is cut off, or something follows it.
    #[error("the key is cut off or has something behind it")]
    Length,
}

/// The fingerprint of a public key: `SHA256:` and unpadded base64, as `ssh-keygen -l` prints it.
///
/// # Errors
/// When the text is no public key.
pub fn fingerprint(public_key: &str) -> Result<String, KeyError> {
    let _ = public_key;
    todo!()
}

/// The status.
#[must_use]
pub fn key_pair_status(key_pair: &KeyPair, now: Timestamp) -> KeyPairStatus {
    let _ = (key_pair, now);
    todo!()
}
