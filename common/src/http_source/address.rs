//! Which addresses images may come from. Checked where a name is resolved, so that a name cannot
//! say one thing to the check and another to the connection.

use ipnet::IpNet;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Which addresses images may come from: everything but the process's own machine and link (where
/// clouds keep their credentials), and what the operator says otherwise.
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
        // An IPv4 address in IPv6's clothes (`::ffff:127.0.0.1`) is the IPv4 address.
        let address = address.to_canonical();
        let among = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
        among(&self.allow) || !(is_never_a_server(address) || among(&self.deny))
    }

    /// Whether the host of an address may be asked: a name may, until it is resolved.
    pub(super) fn allows_host(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        literal.parse().map_or(true, |ip| self.allows(ip))
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
            ("169.254.169.254", false),
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
            ("http://[::1]/", false),
            ("http://example.org/", true),
        ] {
            assert_eq!(policy.allows_host(&url.parse().unwrap()), allowed, "{url}");
        }
    }
}
