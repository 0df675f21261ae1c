//! MACs: chosen ones are derived from the Instance's uid and the interface's name, locally
//! administered, and checked for collisions.
//!
//! A chosen MAC is held nowhere in the cluster. A fixed one only has to be free in its Network: a
//! tenant can keep no other from his own.

use kilonova_crds::names::short_hash;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A MAC address; shown in lower case with colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// Prefix of chosen MACs: the one that OpenStack's networks have (`base_mac`), locally administered.
const PORT_PREFIX: [u8; 3] = [0xfa, 0x16, 0x3e];
/// Prefix of gateways' MACs: beside the ports', so that the two never meet.
const GATEWAY_PREFIX: [u8; 3] = [0xfa, 0x16, 0x3f];

/// The text is no MAC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address such as fa:16:3e:00:00:01")]
pub struct MacError(String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let error = || MacError(text.to_owned());
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let hex = |p: &&str| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit());
            let part = parts.next().filter(hex).ok_or_else(error)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() {
            return Err(error());
        }
        Ok(Self(mac))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

/// A MAC of that prefix, from a hash of the text.
fn derive(prefix: [u8; 3], text: &str) -> Mac {
    let hash = u32::from_str_radix(&short_hash(text, 6), 16).unwrap_or_default();
    let mut mac = [0; 6];
    mac[..3].copy_from_slice(&prefix);
    mac[3..].copy_from_slice(&hash.to_be_bytes()[1..]);
    Mac(mac)
}

/// The gateway's MAC in a Network: derived from its uid, the same on every node, and of another
/// prefix than the ports' chosen ones.
#[must_use]
pub fn gateway_mac(network_uid: &str) -> String {
    derive(GATEWAY_PREFIX, network_uid).to_string()
}

/// How often each Instance is named as the holder of one thing.
pub(crate) type Holders = Vec<(Arc<str>, u32)>;

/// Names `uid` once more.
pub(crate) fn hold(holders: &mut Holders, uid: &Arc<str>) {
    match holders.iter_mut().find(|(holder, _)| holder == uid) {
        Some((_, count)) => *count += 1,
        None => holders.push((Arc::clone(uid), 1)),
    }
}

/// Names `uid` once less; whether nobody is named any more.
pub(crate) fn release(holders: &mut Holders, uid: &str) -> bool {
    if let Some(place) = holders.iter().position(|(holder, _)| &**holder == uid) {
        holders[place].1 -= 1;
        if holders[place].1 == 0 {
            holders.swap_remove(place);
        }
    }
    holders.is_empty()
}

/// Which MACs are held, in which Network, and by whom.
#[derive(Debug, Default)]
pub struct Macs {
    networks: HashMap<Arc<str>, HashMap<Mac, Holders>>,
    /// In how many Networks each is held.
    everywhere: HashMap<Mac, u32>,
}

impl Macs {
    /// The Instance holds the MAC in the Network, once more.
    pub fn hold(&mut self, network: &Arc<str>, mac: Mac, uid: &Arc<str>) {
        let network = self.networks.entry(Arc::clone(network)).or_default();
        let holders = network.entry(mac).or_insert_with(|| {
            *self.everywhere.entry(mac).or_default() += 1;
            Vec::with_capacity(1)
        });
        hold(holders, uid);
    }

    /// The Instance holds the MAC in the Network once less; whether it is free now.
    pub fn release(&mut self, network: &str, mac: Mac, uid: &str) -> bool {
        let Some(macs) = self.networks.get_mut(network) else {
            return false;
        };
        if !macs.get_mut(&mac).is_some_and(|h| release(h, uid)) {
            return false;
        }
        macs.remove(&mac);
        if macs.is_empty() {
            self.networks.remove(network);
        }
        if let Some(count) = self.everywhere.get_mut(&mac) {
            *count -= 1;
            if *count == 0 {
                self.everywhere.remove(&mac);
            }
        }
        true
    }

    /// Who else than that Instance holds the MAC in the Network.
    pub fn others<'a>(
        &'a self,
        network: &str,
        mac: Mac,
        uid: &'a str,
    ) -> impl Iterator<Item = &'a str> {
        let holders = self.networks.get(network).and_then(|macs| macs.get(&mac));
        holders
            .into_iter()
            .flatten()
            .map(|(holder, _)| &**holder)
            .filter(move |holder| *holder != uid)
    }

    /// Whether a port of the Network is held by anyone.
    #[must_use]
    pub fn in_use(&self, network: &str) -> bool {
        self.networks.contains_key(network)
    }

    /// A MAC for an interface: the same as ever where that is free, else the next derived one. It
    /// is not held yet.
    #[must_use]
    pub fn choose(&self, uid: &str, interface: &str) -> Mac {
        let mut attempt = 0u32;
        loop {
            let mac = derive(PORT_PREFIX, &format!("{uid}/{interface}/{attempt}"));
            // 2^24 MACs: an end is sure while fewer are held.
            if !self.everywhere.contains_key(&mac) {
                return mac;
            }
            attempt = attempt.wrapping_add(1);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arc(text: &str) -> Arc<str> {
        Arc::from(text)
    }

    #[test]
    fn chosen_ones_are_stable_local_unicast_and_never_meet() {
        let mut macs = Macs::default();
        let first = macs.choose("uid", "eth0");
        assert_eq!(first, macs.choose("uid", "eth0"));
        assert_eq!(first.0[0] & 3, 2);
        macs.hold(&arc("blue"), first, &arc("other"));
        let second = macs.choose("uid", "eth0");
        assert_ne!(first, second);
        assert_ne!(gateway_mac("uid"), gateway_mac("uie"));
        assert!(gateway_mac("uid").starts_with("fa:16:3f:"));
        assert!(macs.release("blue", first, "other"));
        assert_eq!(first, macs.choose("uid", "eth0"));
        assert!(macs.networks.is_empty() && macs.everywhere.is_empty());
    }

    #[test]
    fn a_fixed_one_counts_in_its_network_only() {
        let mut macs = Macs::default();
        let mac: Mac = "02:00:00:00:00:01".parse().unwrap();
        macs.hold(&arc("blue"), mac, &arc("a"));
        assert_eq!(macs.others("blue", mac, "b").collect::<Vec<_>>(), ["a"]);
        assert_eq!(macs.others("blue", mac, "a").count(), 0);
        assert_eq!(macs.others("red", mac, "b").count(), 0);
    }

    #[test]
    fn named_twice_is_released_twice() {
        let mut macs = Macs::default();
        let mac = Mac([2; 6]);
        macs.hold(&arc("blue"), mac, &arc("a"));
        macs.hold(&arc("blue"), mac, &arc("a"));
        assert!(!macs.release("blue", mac, "a"));
        assert!(!macs.release("blue", mac, "b"));
        assert!(macs.in_use("blue"));
        assert!(macs.release("blue", mac, "a"));
        assert!(!macs.in_use("blue"));
    }

    #[test]
    fn refuses_what_is_no_mac() {
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:0g",
            "02:00:00:00:00:+1",
            "2:0:0:0:0:1",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn text_and_back(bytes: [u8; 6]) {
            let mac = Mac(bytes);
            prop_assert_eq!(mac.to_string().parse::<Mac>().unwrap(), mac);
        }

        #[test]
        fn any_text_is_read_without_a_fault(text in ".{0,20}") {
            let _ = text.parse::<Mac>();
        }
    }
}
