//! Network.status, and its finalizer.

use crate::addresses::{SubnetError, read_subnet};
use crate::conditions::Verdict;
use crate::key::has_finalizer;
use crate::segments::{Assigned, NoSegment};
use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::names::NETWORK_FINALIZER;
use kilonova_crds::v1alpha1::{Network, NetworkSpec, NetworkStatus};

/// The reason of a Network that has its segment together with another: their frames meet.
pub const SEGMENT_SHARED: &str = "SegmentShared";

/// What is said of it.
const SHARED: &str = "another Network has ports in this segment too, and neither can be moved while instances are attached to both: they see each other's frames; once nothing is attached to one of the two, it gets another segment";

/// The status. A segment that was chosen stays, whatever becomes of the class. `in_use`:
/// `Cluster::network_in_use` or a Segment object of it. `assign`: `Cluster::assign_segment`, asked
/// only where the Network can have one.
#[must_use]
pub fn network_status(
    network: &Network,
    assign: impl FnOnce() -> Result<Assigned, NoSegment>,
    in_use: bool,
    now: Timestamp,
) -> NetworkStatus {
    let previous = network.status.as_ref();
    let mut segment = previous.and_then(|s| s.segment.clone());
    let verdict = if network.metadata.deletion_timestamp.is_some() {
        let message = if in_use {
            "it goes when no instance is attached to it any more"
        } else {
            ""
        };
        Verdict::not_ready("Terminating", message)
    } else if let Some(wrong) = subnets_fault(&network.spec) {
        Verdict::stalled("Invalid", wrong.to_string())
    } else {
        match assign() {
            Ok(assigned) => {
                segment = Some(assigned.segment);
                if assigned.shared {
                    Verdict::not_ready(SEGMENT_SHARED, SHARED)
                } else {
                    Verdict::ready("SegmentChosen")
                }
            }
            Err(none) => {
                segment = None;
                Verdict::not_ready(none.reason(), none.to_string())
            }
        }
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
    use crate::segments::Segments;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kilonova_crds::condition::{find, types};
    use kilonova_crds::v1alpha1::NetworkClass;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

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

    fn status(network: &Network, class: Option<&NetworkClass>, seconds: i64) -> NetworkStatus {
        let assign = || Segments::default().assign(network, class, &BTreeMap::new(), true);
        let now = Timestamp::from_second(seconds).unwrap();
        network_status(network, assign, false, now)
    }

    fn reason(network: &Network, class: Option<&NetworkClass>) -> String {
        let status = status(network, class, 0);
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
        let first = status(&network, Some(&class()), 0);
        assert_eq!(first.observed_generation, 3);
        network.status = Some(first.clone());
        assert_eq!(status(&network, None, 9), first);
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
