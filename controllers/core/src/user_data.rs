//! User data that comes from a Secret: what may be read, and what of it is handed to a node.

use crate::status::{lacks_user_data, user_data_taken};
use crate::wait::Wait;
use k8s_openapi::api::core::v1::Secret;
use kilonova_crds::v1alpha1::SecretKeyRef;
use kilonova_crds::{Domain, Instance};
use std::time::Duration;

/// Most bytes of user data that a Secret may have: what the 16384 characters of `spec.userData`
/// take at most.
pub const MAX_BYTES: usize = 65536;

/// The shortest and the longest pause before a Secret that was missing is looked for again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));

/// After how long a Secret that has been missing for so long is looked for again: soon where it may
/// come with the very files that the Instance came with, seldom where nobody seems to care.
#[must_use]
pub fn look_again(missing_for: Duration) -> Duration {
    (missing_for / 4).clamp(PAUSE.0, PAUSE.1)
}

/// What is to be done for a node that may have lost the user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// Nothing: the node has not said that it lacks it, or nobody needs it any more.
    Nothing,
    /// The Instance's status is to say that the node lacks it. Only what the status calls missing is
    /// taken away again when the node has it: a copy that came before would stay.
    Say,
    /// It is to be put into the node namespace.
    Put,
}

/// What is to be done for the node of that Domain.
#[must_use]
pub fn hand_over_again(instance: &Instance, domain: Option<&Domain>) -> HandOver {
    let is_wanted = instance.spec.user_data_secret().is_some()
        && instance.metadata.deletion_timestamp.is_none();
    if !is_wanted || !domain.is_some_and(lacks_user_data) {
        return HandOver::Nothing;
    }
    if user_data_taken(instance.status.as_ref()) {
        return HandOver::Say;
    }
    HandOver::Put
}

/// Whether the name is one that a Secret can have (a DNS subdomain). It becomes a part of a request's
/// path, so what the schema says of it is not trusted here.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    bytes.len() <= 253
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| inner(*b))
}

/// The bytes that the guest is to be given.
///
/// # Errors
/// What the Instance waits for.
pub fn of_secret(from: &SecretKeyRef, secret: Option<Secret>) -> Result<Vec<u8>, Wait> {
    let secret = secret.ok_or_else(|| Wait::SecretMissing(from.name.clone()))?;
    let value = secret.data.and_then(|mut data| data.remove(&from.key));
    let value = value.ok_or_else(|| Wait::SecretKeyMissing(from.clone()))?.0;
    if value.len() > MAX_BYTES {
        let (from, bytes) = (from.clone(), value.len());
        return Err(Wait::UserDataTooLarge { from, bytes });
    }
    Ok(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::testing::parse;
    use k8s_openapi::ByteString;
    use serde_json::json;

    fn from() -> SecretKeyRef {
        SecretKeyRef {
            name: "boot".into(),
            key: "script".into(),
        }
    }

    fn secret(key: &str, bytes: usize) -> Secret {
        Secret {
            data: Some([(key.to_owned(), ByteString(vec![0xff; bytes]))].into()),
            ..Secret::default()
        }
    }

    #[test]
    fn only_a_secrets_name_reaches_a_path() {
        for name in ["boot", "a", "boot.data-1"] {
            assert!(is_secret_name(name), "{name}");
        }
        let long = "a".repeat(254);
        for name in [
            "", ".", "..", "-a", "a-", "a/b", "../a", "a?b", "a%2fb", "A", "a\n", &long,
        ] {
            assert!(!is_secret_name(name), "{name:?}");
        }
    }

    fn instance(taken: &str) -> Instance {
        let condition = json!({
            "type": "UserDataReady", "status": taken, "reason": "why", "message": "",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        });
        parse(json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": "Instance",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "flavor": "small", "image": {"kind": "Image", "name": "debian"},
                "userDataFrom": {"secretKeyRef": {"name": "boot", "key": "script"}},
            },
            "status": {"observedGeneration": 1, "conditions": [condition]},
        }))
    }

    fn domain(reason: &str) -> Domain {
        parse(json!({
            "apiVersion": "node.kilonova.dev/v1alpha1", "kind": "Domain",
            "metadata": {"name": "u"},
            "spec": {
                "instance": {"namespace": "shop", "namespaceUid": "n", "name": "web", "uid": "u"},
                "uuid": "u", "vcpus": 1, "memory": "1Gi", "disk": "1Gi", "rootDisk": "Existing",
                "image": {
                    "url": "http://x/d", "checksum": "sha256:00", "format": "raw",
                    "virtualSize": "1Gi",
                },
                "guest": {"hostname": "web"}, "power": "On", "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 1, "disposition": "Run",
            },
            "status": {"observedGeneration": 1, "reason": reason},
        }))
    }

    #[test]
    fn it_is_said_that_a_node_lacks_it_before_it_is_handed_over_again() {
        let lacking = domain("UserDataMissing");
        let order = |taken, domain| hand_over_again(&instance(taken), domain);
        assert_eq!(order("True", Some(&lacking)), HandOver::Say);
        assert_eq!(order("False", Some(&lacking)), HandOver::Put);
        assert_eq!(order("Unknown", Some(&lacking)), HandOver::Put);
        let running = domain("Running");
        assert_eq!(order("False", Some(&running)), HandOver::Nothing);
        assert_eq!(order("False", None), HandOver::Nothing);
        let mut leaving = instance("False");
        leaving.metadata.deletion_timestamp = Some(parse(json!("1970-01-01T00:00:00Z")));
        assert_eq!(hand_over_again(&leaving, Some(&lacking)), HandOver::Nothing);
    }

    #[test]
    fn a_pause_grows_with_the_wait() {
        let after = |seconds| look_again(Duration::from_secs(seconds)).as_secs();
        assert_eq!([after(0), after(20), after(4000)], [2, 5, 60]);
    }

    #[test]
    fn what_is_missing_or_too_large_is_said_without_its_content() {
        let says = |secret| of_secret(&from(), secret).unwrap_err().to_string();
        assert_eq!(
            says(None),
            "there is no Secret \"boot\" in this namespace, which has the user data"
        );
        assert_eq!(
            says(Some(secret("other", 1))),
            "Secret \"boot\" has no key \"script\" with the user data"
        );
        assert_eq!(
            says(Some(secret("script", MAX_BYTES + 1))),
            "the user data in key \"script\" of Secret \"boot\" has 65537 bytes, at most 65536 are taken"
        );
        let most = of_secret(&from(), Some(secret("script", MAX_BYTES)));
        assert_eq!(most.unwrap().len(), MAX_BYTES);
    }
}
