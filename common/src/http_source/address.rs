//! Which addresses images may come from. Checked where a name is resolved, so that a name cannot
//! say one thing to the check and another to the connection.

use ipnet::IpNet;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Which addresses a tenant's images may come from: everything but the process's own machine and
/// link (where clouds keep their credentials), and what the operator says otherwise.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    /// Allowed whatever else is said.
    pub allow: Vec<IpNet>,
    /// Not allowed, beside what never is.
    pub deny: Vec<IpNet>,
}

impl AddressPolicy {
    /// Whether an image may come from there.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let within = embedded(address);
        let among = |nets: &[IpNet]| {
            let holds =
                |net: &IpNet| net.contains(&address) || within.is_some_and(|v4| net.contains(&v4));
            nets.iter().any(holds)
        };
        let never = is_never_a_server(address) || within.is_some_and(is_never_a_server);
        among(&self.allow) || !(never || among(&self.deny))
    }

    /// Whether the host of an address may be asked: a name may, until it is resolved.
    pub(super) fn allows_host(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        literal.parse().map_or(true, |ip| self.allows(ip))
    }
}

/// The IPv4 address that an IPv6 address stands for: whoever translates connects there (RFC 4291,
/// 2.5.5: mapped and compatible ones; RFC 6052, 2.1; RFC 3056, 2).
fn embedded(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else {
        return None;
    };
    let [front @ .., high, low] = v6.segments();
    let v4 = |high: u16, low: u16| {
        let bits = u32::from(high) << 16 | u32::from(low);
        Some(IpAddr::V4(Ipv4Addr::from_bits(bits)))
    };
    match front {
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => None,
    }
}

fn is_never_a_server(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.octets()[0] == 0
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
        }
    }
}

/// The policy refuses every address of a name.
#[derive(Debug, thiserror::Error)]
#[error("no address of the server is allowed")]
pub(super) struct Forbidden;

/// Whether an error is a refusal of the policy.
pub(super) fn caused(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.is::<Forbidden>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// The system's resolver, less what the policy refuses.
pub(super) struct Resolver(pub(super) Arc<AddressPolicy>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|a| policy.allows(a.ip())).collect();
            if allowed.is_empty() {
                return Err(Forbidden.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn own_machine_and_link_are_not_asked() {
        let policy = AddressPolicy {
            allow: vec!["127.0.0.2/32".parse().unwrap()],
            deny: vec!["10.96.0.0/12".parse().unwrap()],
        };
        for (address, allowed) in [
            ("127.0.0.1", false),
            ("127.0.0.2", true),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::127.0.0.1", false),
            ("64:ff9b::169.254.169.254", false),
            ("64:ff9b::192.0.2.1", true),
            ("2002:7f00:1::1", false),
            ("2002:a60:1::1", false),
            ("::ffff:127.0.0.2", true),
            ("224.0.0.1", false),
            ("::ffff:224.0.0.1", false),
            ("ff02::1", false),
            ("::", false),
            ("::ffff:0.0.0.0", false),
            ("169.254.169.254", false),
            ("::ffff:169.254.169.254", false),
            ("fe80::a9fe:a9fe", false),
            ("0.0.0.0", false),
            ("10.96.0.1", false),
            ("::ffff:10.96.0.1", false),
            ("10.0.0.1", true),
            ("192.0.2.1", true),
            ("2001:db8::1", true),
        ] {
            assert_eq!(
                policy.allows(address.parse().unwrap()),
                allowed,
                "{address}"
            );
        }
    }

    #[test]
    fn addresses_in_disguise_are_seen() {
        let policy = AddressPolicy::default();
        for (url, allowed) in [
            ("http://0x7f.1/", false),
            ("http://2130706433/", false),
            ("http://0177.0.0.1/", false),
            ("http://127.1/", false),
            ("http://127%2e0%2e0%2e1/", false),
            ("http://\u{ff11}27.0.0.1/", false),
            ("http://127.0.0.1./", false),
            ("http://[::1]/", false),
            ("http://[::ffff:7f00:1]/", false),
            ("http://[0:0:0:0:0:0:0:1]/", false),
            ("http://example.org/", true),
        ] {
            assert_eq!(policy.allows_host(&url.parse().unwrap()), allowed, "{url}");
        }
    }
}
