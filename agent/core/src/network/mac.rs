//! A MAC address.

use std::fmt;
use std::str::FromStr;

/// The MAC address of one interface: unicast and not all zeroes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

/// Why a text or six octets are no interface's MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMac {
    /// It is not six pairs of hexadecimal digits with colons.
    #[error("{0:?} is no MAC address such as fa:16:3e:00:00:01")]
    Form(String),
    /// It is a group address or all zeroes, which no interface may have (IEEE 802).
    #[error("{0} is a group address or zero, no interface may have it")]
    NotUnicast(Mac),
}

impl Mac {
    /// The MAC of these octets.
    ///
    /// # Errors
    /// When no interface may have it: a group address, or all zeroes.
    pub fn new(octets: [u8; 6]) -> Result<Self, InvalidMac> {
        let mac = Self(octets);
        if octets[0] & 1 == 1 || octets == [0; 6] {
            return Err(InvalidMac::NotUnicast(mac));
        }
        Ok(mac)
    }

    /// Its octets, in the order in which they are sent.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for Mac {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let invalid = || InvalidMac::Form(text.chars().take(40).collect());
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or_else(invalid)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() {
            return Err(invalid());
        }
        Self::new(octets)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, octet) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{octet:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn text_and_octets_are_one() {
        let mac: Mac = "FA:16:3e:00:03:0f".parse().unwrap();
        assert_eq!(mac.octets(), [0xfa, 0x16, 0x3e, 0, 3, 0x0f]);
        assert_eq!(mac.to_string(), "fa:16:3e:00:03:0f");
    }

    #[test]
    fn what_is_no_interfaces_mac_is_refused() {
        for text in [
            "",
            "fa:16:3e:00:03",
            "fa:16:3e:00:03:01:02",
            "fa:16:3e:00:03:+1",
            "fa-16-3e-00-03-01",
            "fa:16:3e:00:03:01\n",
            "01:16:3e:00:03:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text:?}");
        }
    }
}
