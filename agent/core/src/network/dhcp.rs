//! What the DHCP server of a Segment reads: its configuration, a line for each port, its leases.

use super::{BRIDGE, LinkName, Mac, PortDesired, SegmentDesired, SubnetDesired};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// How long a lease lasts, in seconds: a day, so that a guest outlives a long absence of its
/// server. It ends with its port, not by this.
const LEASE_SECONDS: u32 = 86_400;

/// The files of one Segment's DHCP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpFiles {
    directory: PathBuf,
}

impl DhcpFiles {
    /// The files in a Segment's directory. Its path must have nothing but printable characters,
    /// no comma, quote, hash or backslash: dnsmasq's configuration knows no way to write those.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Its configuration.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.directory.join("dnsmasq.conf")
    }

    /// The directory with a file for each port.
    #[must_use]
    pub fn hosts(&self) -> PathBuf {
        self.directory.join("hosts")
    }

    /// The file of one port.
    #[must_use]
    pub fn host(&self, tap: &LinkName) -> PathBuf {
        self.hosts().join(tap.as_str())
    }

    /// The leases that it gave.
    #[must_use]
    pub fn leases(&self) -> PathBuf {
        self.directory.join("leases")
    }
}

/// The configuration of a Segment's DHCP server: exactly the allocated pairs, and nothing but DHCP.
///
/// It stays who it was started as: whoever starts it takes from it what it does not need, and the
/// kernel forgets to end it with its parent once it changes its user or group.
#[must_use]
pub fn configuration(segment: &SegmentDesired, files: &DhcpFiles) -> String {
    let mut text = format!(
        "# The DHCP server of {network}; written by kilonova-agent.\n\
         port=0\n\
         interface={BRIDGE}\n\
         except-interface=lo\n\
         bind-interfaces\n\
         no-ping\n\
         no-hosts\n\
         no-resolv\n\
         user=root\n\
         group=root\n\
         pid-file\n\
         log-facility=-\n\
         dhcp-authoritative\n\
         dhcp-no-override\n\
         dhcp-ignore=tag:!known\n\
         dhcp-ignore-names\n\
         dhcp-ignore-clid\n\
         dhcp-lease-max=65536\n\
         dhcp-hostsdir={hosts}\n\
         dhcp-leasefile={leases}\n\
         dhcp-option=option:mtu,{mtu}\n",
        network = segment.netns,
        hosts = files.hosts().display(),
        leases = files.leases().display(),
        mtu = segment.mtu,
    );
    for (index, subnet) in segment.subnets.iter().enumerate() {
        options(
            &mut text,
            &format!("s{index}"),
            subnet,
            segment.serves_from_outside(),
        );
    }
    text
}

/// One subnet's range and options, under a tag of its own.
fn options(text: &mut String, tag: &str, subnet: &SubnetDesired, from_outside: bool) {
    if from_outside {
        // The server's own address is in no subnet: by this it knows that the subnet is here.
        let _ = writeln!(text, "shared-network={BRIDGE},{}", subnet.cidr.network());
    }
    let mut option = |name: &str, values: &[String]| {
        // An option without a value is one that is not sent: dnsmasq would put itself there.
        let mut line = format!("dhcp-option=tag:{tag},option:{name}");
        for value in values {
            line.push(',');
            line.push_str(value);
        }
        text.push_str(&line);
        text.push('\n');
    };
    let gateway = subnet.gateway.map(|gateway| gateway.to_string());
    let dns: Vec<_> = subnet.dns.iter().map(ToString::to_string).collect();
    option("router", gateway.as_slice());
    option("dns-server", &dns);
    if !subnet.routes.is_empty() {
        // Who understands this option ignores the router (RFC 3442), so it names that one too.
        let mut routes: Vec<_> = subnet
            .routes
            .iter()
            .flat_map(|route| [route.destination.to_string(), route.next_hop.to_string()])
            .collect();
        if let Some(gateway) = gateway {
            routes.extend(["0.0.0.0/0".to_owned(), gateway]);
        }
        option("classless-static-route", &routes);
    }
    let _ = writeln!(
        text,
        "dhcp-range=set:{tag},{},static,{},{LEASE_SECONDS}",
        subnet.cidr.network(),
        subnet.cidr.netmask(),
    );
}

/// The line of one port: who it is by its MAC, and what it gets. Absent where it has no address.
/// A port gets one address by DHCP: its first.
#[must_use]
pub fn host_line(port: &PortDesired) -> Option<String> {
    let ip = port.ips.first()?;
    Some(format!(
        "{},{ip},{},{LEASE_SECONDS}\n",
        port.mac, port.hostname
    ))
}

/// The pair in a line that [`host_line`] made.
#[must_use]
pub fn pair(line: &str) -> Option<(Mac, Ipv4Addr)> {
    let mut fields = line.trim_end().split(',');
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// One lease as the server remembers it: when it ends, MAC, address, host name, client id.
fn lease(line: &str) -> Option<(Mac, Ipv4Addr)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The leases that no port has, by the leases' file.
#[must_use]
pub fn stale_leases(leases: &str, ports: &BTreeSet<(Mac, Ipv4Addr)>) -> Vec<(Mac, Ipv4Addr)> {
    leases
        .lines()
        .filter_map(lease)
        .filter(|pair| !ports.contains(pair))
        .collect()
}

/// The leases' file with only the leases that a port has.
#[must_use]
pub fn kept_leases(leases: &str, ports: &BTreeSet<(Mac, Ipv4Addr)>) -> String {
    let mut kept = String::new();
    for line in leases.lines() {
        if lease(line).is_some_and(|pair| ports.contains(&pair)) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::network::tests::{port, segment};

    #[test]
    fn the_configuration_says_this_and_no_more() {
        let files = DhcpFiles::in_directory(Path::new("/run/kilonova/segments/kn-6f1c0a529d1e"));
        let text = configuration(&segment(), &files);
        let expected = "\
# The DHCP server of kn-6f1c0a529d1e; written by kilonova-agent.
port=0
interface=br0
except-interface=lo
bind-interfaces
no-ping
no-hosts
no-resolv
user=root
group=root
pid-file
log-facility=-
dhcp-authoritative
dhcp-no-override
dhcp-ignore=tag:!known
dhcp-ignore-names
dhcp-ignore-clid
dhcp-lease-max=65536
dhcp-hostsdir=/run/kilonova/segments/kn-6f1c0a529d1e/hosts
dhcp-leasefile=/run/kilonova/segments/kn-6f1c0a529d1e/leases
dhcp-option=option:mtu,1450
dhcp-option=tag:s0,option:router,10.0.0.1
dhcp-option=tag:s0,option:dns-server,192.0.2.53
dhcp-option=tag:s0,option:classless-static-route,192.168.0.0/16,10.0.0.9,0.0.0.0/0,10.0.0.1
dhcp-range=set:s0,10.0.0.0,static,255.255.255.0,86400
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_plain_segment_names_the_router_that_is_in_it() {
        let files = DhcpFiles::in_directory(Path::new("/run"));
        let mut plain = segment();
        plain.routed = false;
        plain.subnets[0].dns.clear();
        let text = configuration(&plain, &files);
        assert!(text.contains("\nshared-network=br0,10.0.0.0\n"));
        assert!(text.contains("\ndhcp-option=tag:s0,option:router,10.0.0.1\n"));
        plain.subnets[0].gateway = None;
        let text = configuration(&plain, &files);
        assert!(!text.contains("shared-network"));
        assert!(text.contains("\ndhcp-option=tag:s0,option:router\n"));
        assert!(text.contains("\ndhcp-option=tag:s0,option:dns-server\n"));
        assert!(text.contains("static-route,192.168.0.0/16,10.0.0.9\n"));
    }

    #[test]
    fn a_ports_line_reads_back() {
        let port = port();
        let line = host_line(&port).unwrap();
        assert_eq!(line, "fa:16:3e:00:03:01,10.0.0.31,web-1,86400\n");
        assert_eq!(pair(&line), Some((port.mac, port.ips[0])));
        assert_eq!(pair("nonsense"), None);
    }

    #[test]
    fn only_the_leases_of_ports_are_kept() {
        let leases = "1795 fa:16:3e:00:03:01 10.0.0.31 web-1 01:fa\n\
                      1795 fa:16:3e:00:03:02 10.0.0.31 * *\n\
                      1795 fa:16:3e:00:03:01 10.0.0.32 * *\n\
                      duid 00:01\n";
        let (mac, ip) = (port().mac, port().ips[0]);
        let ports = BTreeSet::from([(mac, ip)]);
        assert_eq!(stale_leases(leases, &ports).len(), 2);
        assert_eq!(
            kept_leases(leases, &ports),
            "1795 fa:16:3e:00:03:01 10.0.0.31 web-1 01:fa\n"
        );
    }
}
