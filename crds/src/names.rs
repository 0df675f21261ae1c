//! Names that two rooms must agree on: labels, annotations, finalizers, and what is derived from
//! an object's name or uid.

use sha2::{Digest, Sha256};

/// API group of what people write.
pub const GROUP: &str = "kilonova.dev";
/// API group of what controllers and agents write to each other.
pub const NODE_GROUP: &str = "node.kilonova.dev";
/// The version of both groups.
pub const VERSION: &str = "v1alpha1";

/// On an Instance: goes when its domain is purged, or when it never had one.
pub const INSTANCE_FINALIZER: &str = "kilonova.dev/instance";
/// On a Network: goes when nothing names its segment any more.
pub const NETWORK_FINALIZER: &str = "kilonova.dev/network";

/// Label on a node namespace and on what the controllers put in it; empty value.
pub const NODE_NAMESPACE_LABEL: &str = "kilonova.dev/node-namespace";
/// Annotation on a node namespace: the node's name.
pub const NODE_ANNOTATION: &str = "kilonova.dev/node";
/// Annotation on a node namespace: the id of this cluster, by which an agent knows its own domains.
pub const CLUSTER_ID_ANNOTATION: &str = "kilonova.dev/cluster-id";
/// Annotation that carries the leader's `leaseTransitions` with each fenced write.
pub const LEADER_ANNOTATION: &str = "kilonova.dev/leader-transitions";
/// Label on the agents' sets and pods: the node group that they are of.
pub const NODE_GROUP_LABEL: &str = "kilonova.dev/node-group";
/// Annotation by which a node namespace or one of our CRDs may be deleted.
pub const ALLOW_DELETE_ANNOTATION: &str = "kilonova.dev/allow-delete";
/// Annotation on an Instance: the uid of the orphan that it takes over.
pub const ADOPT_ANNOTATION: &str = "kilonova.dev/adopt-orphan";
/// Annotation on a Domain: when the controllers found its Instance gone without a seen deletion.
pub const ABANDONED_ANNOTATION: &str = "kilonova.dev/abandoned-at";

/// Annotation on one of our CRDs: the version that it is of.
pub const VERSION_ANNOTATION: &str = "kilonova.dev/version";

/// The leader's Lease, in the release's namespace.
pub const LEADER_LEASE: &str = "kilonova-controllers";
/// An agent's Lease, in its node namespace.
pub const AGENT_LEASE: &str = "kilonova-agent";
/// The ServiceAccount in each node namespace whose token the agent asks for.
pub const NODE_SERVICE_ACCOUNT: &str = "kilonova-node";
/// ServiceAccount of the controllers, in the release's namespace.
pub const CONTROLLERS_SERVICE_ACCOUNT: &str = "kilonova-controllers";
/// ServiceAccount of the agents' pods, in their own namespace.
pub const AGENT_SERVICE_ACCOUNT: &str = "kilonova-agent";
/// Field manager of the controllers.
pub const CONTROLLERS_MANAGER: &str = "kilonova-controllers";
/// Field manager of the agents.
pub const AGENT_MANAGER: &str = "kilonova-agent";

/// Namespace prefix of the node namespaces.
const NODE_NAMESPACE_PREFIX: &str = "kilonova-node-";
/// Longest name of a namespace (a DNS label, RFC 1123).
const LABEL_MAX: usize = 63;

/// The node namespace of a node: `kilonova-node-<name>`, and where that is no DNS label, the part
/// that fits and a hash of the whole name.
#[must_use]
pub fn node_namespace(node: &str) -> String {
    let plain = node
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if plain && NODE_NAMESPACE_PREFIX.len() + node.len() <= LABEL_MAX {
        return format!("{NODE_NAMESPACE_PREFIX}{node}");
    }
    let hash = short_hash(node, 10);
    let room = LABEL_MAX - NODE_NAMESPACE_PREFIX.len() - 1 - hash.len();
    let head: String = node
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                '-'
            }
        })
        .take(room)
        .collect();
    format!("{NODE_NAMESPACE_PREFIX}{}-{hash}", head.trim_matches('-'))
}

/// The netns of a Segment on a node, from its Network's uid.
#[must_use]
pub fn segment_netns(network_uid: &str) -> String {
    format!("kn-{}", hex_prefix(network_uid, 12))
}

/// The tap of a port: derived from the domain's uuid and the interface's place in its spec.
/// At most 15 bytes, the kernel's limit (`IFNAMSIZ` - 1).
#[must_use]
pub fn tap(uuid: &str, index: usize) -> String {
    format!(
        "kt{}{index:x}",
        hex_prefix(uuid, 12).get(..11).unwrap_or_default()
    )
}

/// The libvirt domain's name: unique on the node, and readable. Built from namespace, name and
/// uuid; libvirt refuses `/` in a name and the rest is a DNS label each.
#[must_use]
pub fn libvirt_domain(namespace: &str, name: &str, uuid: &str) -> String {
    format!("{namespace}_{name}_{}", hex_prefix(uuid, 8))
}

/// The first `n` hex digits of a uid. A uid that is not hexadecimal (another implementation's) is
/// hashed, so that the result is always `n` hex digits.
fn hex_prefix(uid: &str, n: usize) -> String {
    let hex: String = uid.chars().filter(|c| *c != '-').take(n).collect();
    let fits = hex.len() == n && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if fits { hex } else { short_hash(uid, n) }
}

/// The first `n` hex digits (at most 64) of the SHA-256 of a text.
#[must_use]
pub fn short_hash(text: &str, n: usize) -> String {
    use std::fmt::Write;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex.truncate(n);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_namespaces_are_labels_and_never_meet() {
        assert_eq!(node_namespace("node-1"), "kilonova-node-node-1");
        let long = "n".repeat(253);
        let names = [
            "node-1",
            "node.1",
            "node_1",
            "1.2.3",
            ".",
            &long,
            &long[..250],
        ];
        let made: std::collections::BTreeSet<_> = names.iter().map(|n| node_namespace(n)).collect();
        assert_eq!(made.len(), names.len());
        for name in made {
            assert!(name.len() <= LABEL_MAX && !name.ends_with('-'), "{name}");
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
    }

    #[test]
    fn link_names_fit_the_kernel() {
        let uid = "6f1c0a52-9d1e-4b57-8a53-0d8e35bfb0c1";
        assert_eq!(tap(uid, 0), "kt6f1c0a529d10");
        assert!(tap(uid, 15).len() <= 15);
        assert_eq!(segment_netns(uid), "kn-6f1c0a529d1e");
        assert_eq!(segment_netns("not a uid").len(), 15);
    }
}
