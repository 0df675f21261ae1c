//! KeyPair.status: the fingerprint, and whether the text is the key that it says.

use crate::conditions::Verdict;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::v1alpha1::{KeyPair, KeyPairStatus};
use sha2::{Digest, Sha256};

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
    let mut words = public_key.split_ascii_whitespace();
    let (Some(named), Some(text)) = (words.next(), words.next()) else {
        return Err(KeyError::Form);
    };
    let blob = STANDARD.decode(text)?;
    check(named, &blob)?;
    let hash = Sha256::digest(&blob);
    Ok(format!("SHA256:{}", STANDARD_NO_PAD.encode(hash)))
}

/// A key is a list of strings, each with its length before it (RFC 4253, 6.6): first the type, then
/// what the type says; nothing is behind the last.
fn check(named: &str, blob: &[u8]) -> Result<(), KeyError> {
    let (held, mut rest) = string(blob).ok_or(KeyError::Length)?;
    if held != named.as_bytes() {
        return Err(KeyError::Type {
            named: named.to_owned(),
            held: String::from_utf8_lossy(held).into_owned(),
        });
    }
    if rest.is_empty() {
        return Err(KeyError::Length);
    }
    while !rest.is_empty() {
        (_, rest) = string(rest).ok_or(KeyError::Length)?;
    }
    Ok(())
}

/// The first string, and what is behind it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// The status.
#[must_use]
pub fn key_pair_status(key_pair: &KeyPair, now: Timestamp) -> KeyPairStatus {
    let result = fingerprint(&key_pair.spec.public_key);
    let (fingerprint, verdict) = match result {
        Ok(fingerprint) => (Some(fingerprint), Verdict::ready("Decoded")),
        Err(error) => (None, Verdict::stalled("Invalid", error.to_string())),
    };
    let previous = key_pair.status.as_ref();
    KeyPairStatus {
        observed_generation: key_pair.metadata.generation.unwrap_or_default(),
        fingerprint,
        conditions: verdict.conditions(previous.map(|s| s.conditions.as_slice()), now),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Made with ssh-keygen for this test; the fingerprint is what `ssh-keygen -l` printed.
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEv3v8I45Z9zaUHsubBjSYLo99PvVwZP5qhvUk9ke44r ops";
    const FINGERPRINT: &str = "SHA256:O630R6g2LV/Tfjc08zWfCcJlyRAEyVJ7f7Y8lPLMxHs";

    #[test]
    fn the_fingerprint_is_ssh_keygens() {
        assert_eq!(fingerprint(KEY).unwrap(), FINGERPRINT);
    }

    #[test]
    fn a_key_of_another_type_or_length_is_refused() {
        let other = KEY.replacen("ssh-ed25519", "ssh-rsa", 1);
        let refused = fingerprint(&other);
        assert!(matches!(refused, Err(KeyError::Type { .. })), "{refused:?}");
        let blob = STANDARD.decode(KEY.split(' ').nth(1).unwrap()).unwrap();
        for broken in [
            &blob[..blob.len() - 1],
            &blob[..15],
            &[&blob[..], b"x"].concat(),
        ] {
            let text = format!("ssh-ed25519 {}", STANDARD.encode(broken));
            assert_eq!(fingerprint(&text), Err(KeyError::Length));
        }
        assert_eq!(fingerprint("ssh-ed25519"), Err(KeyError::Form));
        assert!(matches!(fingerprint("a b"), Err(KeyError::Base64(_))));
    }

    #[test]
    fn a_status_of_the_same_key_is_the_same() {
        let spec = kilonova_crds::v1alpha1::KeyPairSpec {
            public_key: KEY.into(),
        };
        let mut key_pair = KeyPair::new("ops", spec);
        let first = key_pair_status(&key_pair, Timestamp::UNIX_EPOCH);
        key_pair.status = Some(first.clone());
        let later = Timestamp::from_second(9).unwrap();
        assert_eq!(key_pair_status(&key_pair, later), first);
        assert!(kilonova_crds::condition::is_true(
            &first.conditions,
            "Ready"
        ));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_fault(text in "\\PC{0,80}") {
            let _ = fingerprint(&text);
        }
    }
}
