//! The scheduler's snapshot of a Hypervisor.

use crate::resources::{Resources, bytes};
use k8s_openapi::api::core::v1::{Node, Taint};
use kilonova_crds::condition::types;
use kilonova_crds::v1alpha1::{
    Capacity, Hypervisor, HypervisorSpec, HypervisorStatus, SegmentType, Share, VirtualizationType,
};
use kilonova_crds::{ConditionStatus, Quantity};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

/// How far more is promised than is there, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio(pub u32);

/// What holds where a Hypervisor's spec says nothing. The defaults are Nova's
/// (`cpu_allocation_ratio` 4.0, `ram_allocation_ratio` 1.0, `disk_allocation_ratio` 1.0,
/// `reserved_host_memory_mb` 512).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Virtual CPUs for each CPU.
    pub cpu: Ratio,
    /// Memory for each byte.
    pub memory: Ratio,
    /// Disk for each byte.
    pub disk: Ratio,
    /// What is kept for the node itself.
    pub reserved: Resources,
}

/// A taint of the Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTaint {
    /// Its key.
    pub key: String,
    /// Its value; empty where it has none.
    pub value: String,
    /// What it does to what does not tolerate it.
    pub effect: TaintEffect,
}

/// What a taint does to what does not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaintEffect {
    /// Keeps it away.
    NoSchedule,
    /// Keeps it away where there is another host.
    PreferNoSchedule,
    /// Keeps it away (what is there stays: an Instance is not evicted).
    NoExecute,
}

/// What placement knows of a Hypervisor, apart from what is claimed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostState {
    /// Its name: the Node's.
    pub name: Arc<str>,
    /// Its Lease is fresh, and it has reported its capacity.
    pub ready: bool,
    /// It takes nothing new: see [`cordoned`].
    pub cordoned: bool,
    /// The Node's taints.
    pub taints: Vec<HostTaint>,
    /// The Node's labels.
    pub labels: BTreeMap<String, String>,
    /// The smaller of share and (capacity − foreign − reserved), times overcommit.
    pub allocatable: Resources,
    /// Its architecture.
    pub architecture: Option<String>,
    /// How it runs guests.
    pub virtualization_types: Vec<VirtualizationType>,
    /// The physical networks that it has a NIC in, with the largest packet that the NIC carries.
    pub physical_networks: BTreeMap<String, u32>,
    /// The conditions by which its agent says that it lacks something. Of what it says nothing, it
    /// lacks nothing.
    pub lacks: BTreeSet<&'static str>,
    /// How many orphans it holds.
    pub orphans: usize,
}

/// The conditions that must not be False where any Instance is to run.
pub const EVERY_INSTANCE_NEEDS: [&str; 2] = [types::LIBVIRT_READY, types::GUESTS_READY];

/// Those that must not be False where a segment of that type is to be.
pub(crate) fn need_of(type_: SegmentType) -> impl Iterator<Item = &'static str> {
    let uplink = match type_ {
        SegmentType::Local => None,
        SegmentType::Vlan => Some(types::VLANS_READY),
        SegmentType::Flat => Some(types::FLAT_NETWORKS_READY),
    };
    std::iter::once(types::NETWORKS_READY).chain(uplink)
}

/// What its agent says that it lacks.
fn lacks(status: &HypervisorStatus) -> BTreeSet<&'static str> {
    let networks = [SegmentType::Local, SegmentType::Vlan, SegmentType::Flat];
    let known = networks.into_iter().flat_map(need_of);
    let known = known.chain(EVERY_INSTANCE_NEEDS);
    let is_false = |type_: &&str| {
        let mut conditions = status.conditions.iter();
        conditions.any(|c| c.type_ == **type_ && c.status == ConditionStatus::False)
    };
    known.filter(is_false).collect()
}

/// A host with more orphans than this takes nothing new until it is looked at.
pub const MAX_ORPHANS: usize = 200;

/// The taint by which an operator declares a node shut down for good (Kubernetes' non-graceful
/// node shutdown).
pub const OUT_OF_SERVICE_TAINT: &str = "node.kubernetes.io/out-of-service";

impl HostState {
    /// The snapshot. `ready`: the agent's Lease is fresh. Without a Node there are no labels and
    /// no taints.
    #[must_use]
    pub fn new(
        hypervisor: &Hypervisor,
        node: Option<&Node>,
        ready: bool,
        defaults: &Defaults,
    ) -> Self {
        let name = hypervisor.metadata.name.as_deref().unwrap_or_default();
        let status = hypervisor.status.as_ref();
        let node_spec = node.and_then(|n| n.spec.as_ref());
        Self {
            name: Arc::from(name),
            ready: ready && status.is_some_and(|s| s.capacity.is_some()),
            cordoned: cordoned(hypervisor, node),
            taints: node_spec
                .and_then(|s| s.taints.as_deref())
                .unwrap_or_default()
                .iter()
                .filter_map(HostTaint::new)
                .collect(),
            labels: node
                .and_then(|n| n.metadata.labels.clone())
                .unwrap_or_default(),
            allocatable: status
                .map(|s| allocatable(&hypervisor.spec, s, defaults))
                .unwrap_or_default(),
            architecture: status.and_then(|s| s.architecture.clone()),
            virtualization_types: status
                .map(|s| s.virtualization_types.clone())
                .unwrap_or_default(),
            physical_networks: status.map(physical_networks).unwrap_or_default(),
            lacks: status.map(lacks).unwrap_or_default(),
            orphans: status.map(|s| s.orphans.len()).unwrap_or_default(),
        }
    }
}

/// Whether a node takes nothing new: `unschedulable` on either object, or the Hypervisor is being
/// deleted.
#[must_use]
pub fn cordoned(hypervisor: &Hypervisor, node: Option<&Node>) -> bool {
    let spec = node.and_then(|n| n.spec.as_ref());
    hypervisor.spec.unschedulable.unwrap_or(false)
        || spec.and_then(|s| s.unschedulable).unwrap_or(false)
        || hypervisor.metadata.deletion_timestamp.is_some()
}

/// The physical networks with the MTU of their NICs; one that an agent told no NIC of carries all.
fn physical_networks(status: &HypervisorStatus) -> BTreeMap<String, u32> {
    let mtu = |name: &String| {
        let mut nics = status.nics.iter();
        nics.find(|nic| nic.physical_network == *name)
            .map_or(u32::MAX, |nic| nic.mtu)
    };
    let names = status.physical_networks.iter();
    names.map(|name| (name.clone(), mtu(name))).collect()
}

/// The smaller of share and (capacity − foreign − reserved), times overcommit, in whole units. What
/// is reserved for the node is no part of a share: pods and the system have the rest.
fn allocatable(spec: &HypervisorSpec, status: &HypervisorStatus, defaults: &Defaults) -> Resources {
    let amount = |c: &Option<Capacity>| c.as_ref().map(Resources::from).unwrap_or_default();
    let own = spec.reserved.clone().unwrap_or_default();
    let reserved = Resources {
        vcpus: own.vcpus.map_or(defaults.reserved.vcpus, u64::from),
        memory: own.memory.as_ref().map_or(defaults.reserved.memory, bytes),
        disk: own.disk.as_ref().map_or(defaults.reserved.disk, bytes),
    };
    let ratios = spec.overcommit.clone().unwrap_or_default();
    let ratio = |text: &Option<String>, default: Ratio| {
        text.as_ref()
            .and_then(|t| t.parse().ok())
            .unwrap_or(default)
    };
    let free = amount(&status.capacity)
        .minus(amount(&status.foreign))
        .minus(reserved)
        .min(share(status.share.as_ref()));
    Resources {
        vcpus: ratio(&ratios.cpu, defaults.cpu).of(free.vcpus),
        memory: ratio(&ratios.memory, defaults.memory).of(free.memory),
        disk: ratio(&ratios.disk, defaults.disk).of(free.disk),
    }
}

/// The part of the node that instances may use.
fn share(share: Option<&Share>) -> Resources {
    let share = share.cloned().unwrap_or_default();
    let size = |quantity: &Option<Quantity>| quantity.as_ref().map_or(u64::MAX, bytes);
    Resources {
        vcpus: share.vcpus.map_or(u64::MAX, u64::from),
        memory: size(&share.memory),
        disk: size(&share.disk),
    }
}

impl HostTaint {
    /// `None`: an effect that Kubernetes does not have.
    fn new(taint: &Taint) -> Option<Self> {
        Some(Self {
            key: taint.key.clone(),
            value: taint.value.clone().unwrap_or_default(),
            effect: match taint.effect.as_str() {
                "NoSchedule" => TaintEffect::NoSchedule,
                "PreferNoSchedule" => TaintEffect::PreferNoSchedule,
                "NoExecute" => TaintEffect::NoExecute,
                _ => return None,
            },
        })
    }
}

/// Whether an operator declared the node shut down for good.
#[must_use]
pub fn out_of_service(node: &Node) -> bool {
    node.spec
        .as_ref()
        .and_then(|s| s.taints.as_deref())
        .unwrap_or_default()
        .iter()
        .any(|t| t.key == OUT_OF_SERVICE_TAINT)
}

impl Ratio {
    /// That many times the amount, rounded down, at most `u64::MAX`.
    #[must_use]
    pub fn of(self, amount: u64) -> u64 {
        let product = u128::from(amount) * u128::from(self.0) / 1000;
        u64::try_from(product).unwrap_or(u64::MAX)
    }
}

/// The text is no ratio.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an overcommit ratio above 0, such as 4.0, with at most 3 digits either side")]
pub struct RatioError(String);

impl FromStr for Ratio {
    type Err = RatioError;

    fn from_str(text: &str) -> Result<Self, RatioError> {
        let error = || RatioError(text.to_owned());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| {
            let fits = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            if fits {
                part.parse::<u32>().map_err(|_| error())
            } else {
                Err(error())
            }
        };
        digits(fraction)?;
        let thousandths = digits(whole)? * 1000 + digits(&format!("{fraction:0<3}"))?;
        if thousandths == 0 {
            return Err(error());
        }
        Ok(Self(thousandths))
    }
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            cpu: Ratio(4000),
            memory: Ratio(1000),
            disk: Ratio(1000),
            reserved: Resources {
                vcpus: 0,
                memory: 512 << 20,
                disk: 0,
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    fn hypervisor(spec: &serde_json::Value) -> Hypervisor {
        serde_json::from_value(json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": "Hypervisor",
            "metadata": {"name": "n1"}, "spec": spec,
            "status": {
                "capacity": {"vcpus": 8, "memory": "16Gi", "disk": "100Gi"},
                "foreign": {"vcpus": 1, "memory": "1Gi", "disk": "10Gi"},
            },
        }))
        .unwrap()
    }

    #[test]
    fn allocatable_is_what_is_left_times_the_ratio() {
        let host = HostState::new(&hypervisor(&json!({})), None, true, &Defaults::default());
        assert_eq!(
            host.allocatable,
            Resources {
                vcpus: 28,
                memory: (14 << 30) + (512 << 20),
                disk: 90 << 30
            }
        );
        let spec = json!({"overcommit": {"cpu": "0.5", "memory": "1.5"}, "reserved": {"vcpus": 1, "memory": "13Gi", "disk": "1Ti"}});
        let host = HostState::new(&hypervisor(&spec), None, true, &Defaults::default());
        let want = Resources {
            vcpus: 3,
            memory: 3 << 30,
            disk: 0,
        };
        assert_eq!(host.allocatable, want);
    }

    #[test]
    fn a_share_is_a_limit_before_the_ratio_and_not_beyond_what_is_there() {
        let allocatable = |share: serde_json::Value| {
            let mut hv = hypervisor(&json!({}));
            let status = hv.status.as_mut().unwrap();
            status.share = serde_json::from_value(share).unwrap();
            HostState::new(&hv, None, true, &Defaults::default()).allocatable
        };
        let free = allocatable(json!(null));
        let part = allocatable(json!({"vcpus": 2, "memory": "4Gi"}));
        assert_eq!(
            (part.vcpus, part.memory, part.disk),
            (8, 4 << 30, free.disk)
        );
        let more = json!({"vcpus": 64, "memory": "1Ti", "disk": "1Pi"});
        assert_eq!(allocatable(more), free);
    }

    #[test]
    fn either_object_cordons() {
        let node = |spec| -> Node { serde_json::from_value(json!({"spec": spec})).unwrap() };
        let new = |hv: &Hypervisor, node: &Node| {
            HostState::new(hv, Some(node), true, &Defaults::default()).cordoned
        };
        let plain = hypervisor(&json!({}));
        assert!(!new(&plain, &node(json!({}))));
        assert!(new(&plain, &node(json!({"unschedulable": true}))));
        assert!(new(
            &hypervisor(&json!({"unschedulable": true})),
            &node(json!({}))
        ));
    }

    #[test]
    fn what_reported_no_capacity_is_not_ready() {
        let mut hv = hypervisor(&json!({}));
        hv.status = None;
        assert!(!HostState::new(&hv, None, true, &Defaults::default()).ready);
    }

    #[test]
    fn ratios_are_exact() {
        for (text, thousandths) in [
            ("4.0", 4000),
            ("1", 1000),
            ("0.05", 50),
            ("999.999", 999_999),
        ] {
            assert_eq!(text.parse(), Ok(Ratio(thousandths)));
        }
        for text in [
            "", "0", "0.000", "-1", "1.", ".5", "1000", "1.0000", "1e3", "NaN", "٣",
        ] {
            assert!(text.parse::<Ratio>().is_err(), "{text:?}");
        }
        assert_eq!(Ratio(4000).of(u64::MAX), u64::MAX);
    }
}
