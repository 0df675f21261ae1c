//! Network.status, and its finalizer.

use crate::addresses::{SubnetError, read_subnet};
use crate::conditions::Verdict;
use crate::key::has_finalizer;
use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::names::NETWORK_FINALIZER;
use kilonova_crds::v1alpha1::{Network, NetworkClass, NetworkSpec, NetworkStatus, SegmentStatus};

/// The status. A segment that was chosen stays, whatever becomes of the class. `in_use`:
/// `Cluster::network_in_use` or a Segment object of it.
#[must_use]
pub fn network_status(
    network: &Network,
    class: Option<&NetworkClass>,
    in_use: bool,
    now: Timestamp,
) -> NetworkStatus {
    let previous = network.status.as_ref();
    let chosen = previous.and_then(|s| s.segment.clone());
    let offered = class.map(|class| SegmentStatus {
        type_: class.spec.type_,
        mtu: class.spec.mtu(),
    });
    let wrong = subnets_fault(&network.spec);
    let segment = chosen.or(offered.filter(|_| wrong.is_none()));
    let verdict = if network.metadata.deletion_timestamp.is_some() {
        let message = if in_use {
            "it goes when no instance is attached to it any more"
        } else {
            ""
        };
        Verdict::not_ready("Terminating", message)
    } else if let Some(wrong) = wrong {
        Verdict::stalled("Invalid", wrong.to_string())
    } else if segment.is_none() {
        let message = format!("there is no NetworkClass {:?}", network.spec.class);
        Verdict::not_ready("ClassMissing", message)
    } else {
        Verdict::ready("SegmentChosen")
    };
    NetworkStatus {
        observed_generation: network.metadata.generation.unwrap_or_default(),
        segment,
        conditions: verdict.conditions(previous.map(|s| s.conditions.as_slice()), now),
    }
}

/// What is wrong with the subnets, where something is.
fn subnets_fault(spec: &NetworkSpec) -> Option<SubnetsFault> {
    let mut before: Vec<IpNet> = Vec::with_capacity(spec.subnets.len());
    for subnet in &spec.subnets {
        let net = match read_subnet(subnet) {
            Ok(read) => read.net,
            Err(error) => return Some(error.into()),
        };
        let meets = |other: &&IpNet| other.contains(&net) || net.contains(*other);
        if let Some(other) = before.iter().find(meets) {
            return Some(SubnetsFault::Overlap(*other, net));
        }
        before.push(net);
    }
    before.is_empty().then_some(SubnetsFault::None)
}

#[derive(Debug, thiserror::Error)]
enum SubnetsFault {
    #[error(transparent)]
    Subnet(#[from] SubnetError),
    #[error("subnets {0} and {1} overlap")]
    Overlap(IpNet, IpNet),
    #[error("it has no subnet")]
    None,
}

/// What is to be done with a Network's finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalizerAction {
    /// Nothing.
    Nothing,
    /// Put it on.
    Add,
    /// Take it off.
    Remove,
}

/// What is to be done with its finalizer: it is there before anything is attached, and goes when
/// nothing is any more.
#[must_use]
pub fn finalizer(network: &Network, in_use: bool) -> FinalizerAction {
    let has = has_finalizer(&network.metadata, NETWORK_FINALIZER);
    match (network.metadata.deletion_timestamp.is_some(), has) {
        (false, false) => FinalizerAction::Add,
        (true, true) if !in_use => FinalizerAction::Remove,
        _ => FinalizerAction::Nothing,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kilonova_crds::condition::{find, types};
    use serde_json::{Value, json};

    fn network(subnets: &Value) -> Network {
        serde_json::from_value(json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": "Network",
            "metadata": {"name": "blue", "namespace": "shop", "uid": "u", "generation": 3},
            "spec": {"class": "tenants", "subnets": subnets},
        }))
        .unwrap()
    }

    fn class() -> NetworkClass {
        serde_json::from_value(json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": "NetworkClass",
            "metadata": {"name": "tenants"}, "spec": {"type": "local"},
        }))
        .unwrap()
    }

    fn reason(network: &Network, class: Option<&NetworkClass>) -> String {
        let status = network_status(network, class, false, Timestamp::UNIX_EPOCH);
        let ready = find(&status.conditions, types::READY).unwrap();
        ready.reason.clone()
    }

    #[test]
    fn each_state_has_its_reason() {
        let good = network(&json!([{"cidr": "10.0.0.0/24"}]));
        assert_eq!(reason(&good, Some(&class())), "SegmentChosen");
        assert_eq!(reason(&good, None), "ClassMissing");
        let bad = network(&json!([{"cidr": "10.0.0.0/24", "gateway": "10.0.0.255"}]));
        assert_eq!(reason(&bad, Some(&class())), "Invalid");
        let both = network(&json!([{"cidr": "10.0.0.0/24"}, {"cidr": "10.0.0.128/25"}]));
        assert_eq!(reason(&both, Some(&class())), "Invalid");
    }

    #[test]
    fn a_chosen_segment_outlives_its_class() {
        let mut network = network(&json!([{"cidr": "10.0.0.0/24"}]));
        let first = network_status(&network, Some(&class()), false, Timestamp::UNIX_EPOCH);
        assert_eq!(first.observed_generation, 3);
        network.status = Some(first.clone());
        let later = Timestamp::from_second(9).unwrap();
        assert_eq!(network_status(&network, None, true, later), first);
    }

    #[test]
    fn the_finalizer_stays_while_anything_is_attached() {
        let mut network = network(&json!([{"cidr": "10.0.0.0/24"}]));
        assert_eq!(finalizer(&network, false), FinalizerAction::Add);
        network.metadata.finalizers = Some(vec![NETWORK_FINALIZER.into()]);
        assert_eq!(finalizer(&network, true), FinalizerAction::Nothing);
        network.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert_eq!(finalizer(&network, true), FinalizerAction::Nothing);
        assert_eq!(finalizer(&network, false), FinalizerAction::Remove);
        assert_eq!(reason(&network, Some(&class())), "Terminating");
        network.metadata.finalizers = None;
        assert_eq!(finalizer(&network, false), FinalizerAction::Nothing);
    }
}
