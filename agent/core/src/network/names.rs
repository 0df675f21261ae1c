//! Names that can stand in a rule set, a configuration file or a path as they are.

use super::UPLINK;
use kilonova_crds::names;
use std::fmt;

/// Longest name of a link: the kernel's `IFNAMSIZ` is 16, with the closing zero.
const LINK_MAX: usize = 15;
/// Longest label of a host name (RFC 1123).
const LABEL_MAX: usize = 63;
/// Prefix of the taps of Instances (`kilonova_crds::names::tap`).
pub(super) const TAP_PREFIX: &str = "kt";
/// Prefix of the node's ends of the links that lead out of Segments.
pub(super) const TRANSIT_PREFIX: &str = "kx";
/// Prefix of the netns of Segments (`kilonova_crds::names::segment_netns`).
const NETNS_PREFIX: &str = "kn-";
/// Hexadecimal digits that follow it.
const NETNS_DIGITS: usize = 12;

/// Why a text is not the name that it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// No link may have it, or not one of ours.
    #[error("{0:?} is no link's name: 1 to 15 letters, digits, dashes")]
    Link(String),
    /// No Segment's netns has it.
    #[error("{0:?} is no Segment's netns")]
    Netns(String),
    /// It is no label of a host name.
    #[error("{0:?} is no host name: 1 to 63 of a-z, 0-9 and dashes, none at either end")]
    Hostname(String),
}

/// What of a refused text is shown.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The name of a link: 1 to 15 letters, digits and dashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName(String);

impl LinkName {
    /// The tap of an interface, by the domain's uuid and the interface's place.
    #[must_use]
    pub fn tap(uuid: &str, index: usize) -> Self {
        Self(names::tap(uuid, index))
    }

    /// The node's end of the link that leads out of a Segment.
    #[must_use]
    pub fn transit(netns: &Netns) -> Self {
        Self(format!("{TRANSIT_PREFIX}{}", netns.digits()))
    }

    /// The port of a bridge that leads to other nodes.
    #[must_use]
    pub fn uplink() -> Self {
        Self(UPLINK.to_owned())
    }

    /// A link's name.
    ///
    /// # Errors
    /// When it is empty, too long, or has anything but letters, digits and dashes.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if name.is_empty() || name.len() > LINK_MAX || !name.bytes().all(plain) {
            return Err(InvalidName::Link(shown(name)));
        }
        Ok(Self(name.to_owned()))
    }

    /// Whether it is an Instance's tap.
    #[must_use]
    pub fn is_tap(&self) -> bool {
        self.0.starts_with(TAP_PREFIX)
    }

    /// Whether it is the node's end of a link out of a Segment.
    #[must_use]
    pub fn is_transit(&self) -> bool {
        self.0.starts_with(TRANSIT_PREFIX)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The netns of a Segment, by its name: `kn-` and twelve hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Netns(String);

impl Netns {
    /// The netns of the Segment of a Network.
    #[must_use]
    pub fn of_network(network_uid: &str) -> Self {
        Self(names::segment_netns(network_uid))
    }

    /// A netns's name, read back.
    ///
    /// # Errors
    /// When no Segment's netns has such a name.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        match name.strip_prefix(NETNS_PREFIX) {
            Some(digits) if digits.len() == NETNS_DIGITS && digits.bytes().all(hex) => {
                Ok(Self(name.to_owned()))
            }
            _ => Err(InvalidName::Netns(shown(name))),
        }
    }

    /// The hexadecimal digits that tell it from others.
    #[must_use]
    pub fn digits(&self) -> &str {
        self.0.strip_prefix(NETNS_PREFIX).unwrap_or_default()
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host name of a guest: one DNS label (RFC 1123), in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(String);

impl Hostname {
    /// A host name.
    ///
    /// # Errors
    /// When it is no DNS label.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let dash = name.starts_with('-') || name.ends_with('-');
        if name.is_empty() || name.len() > LABEL_MAX || dash || !name.bytes().all(plain) {
            return Err(InvalidName::Hostname(shown(name)));
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const UID: &str = "6f1c0a52-9d1e-4b57-8a53-0d8e35bfb0c1";

    #[test]
    fn derived_names_fit_and_read_back() {
        let netns = Netns::of_network(UID);
        assert_eq!(Netns::parse(netns.as_str()).unwrap(), netns);
        let transit = LinkName::transit(&netns);
        assert_eq!(transit.as_str(), "kx6f1c0a529d1e");
        assert!(transit.is_transit() && !transit.is_tap());
        let tap = LinkName::tap(UID, 15);
        assert_eq!(LinkName::new(tap.as_str()).unwrap(), tap);
        assert!(tap.is_tap() && !tap.is_transit());
    }

    #[test]
    fn hostile_names_are_refused() {
        let long = "a".repeat(64);
        for name in [
            "", "-a", "a-", "A", "a.b", "a,b", "a b", "a\nb", "a/b", "..", "é", "a\u{0}", "a;b",
            "a\"", &long,
        ] {
            assert!(Hostname::new(name).is_err(), "{name:?}");
        }
        for name in ["", "a/b", "..", "a b", "kt\"", "kt\n", "kt0123456789abcd"] {
            assert!(LinkName::new(name).is_err(), "{name:?}");
        }
        for name in [
            "",
            "kn-",
            "kn-../../etc",
            "kn-6f1c0a529d1",
            "kn-6F1c0a529d1e",
            "seg1",
        ] {
            assert!(Netns::parse(name).is_err(), "{name:?}");
        }
    }
}
