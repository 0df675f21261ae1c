//! The data plane of a segment as data: ports, rules, DHCP.
