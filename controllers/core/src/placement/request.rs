//! What an Instance asks of a host.

use crate::host_state::{EVERY_INSTANCE_NEEDS, need_of};
use crate::key::{ObjectKey, uid};
use crate::resources::Resources;
use kilonova_crds::v1alpha1::affinity::{
    Affinity, InstanceAffinity, InstanceAffinityTerm, LabelSelector, NodeSelector, PreferredNode,
    Toleration,
};
use kilonova_crds::v1alpha1::{BoundSegment, ImageRequirements, Instance, VirtualizationType};
use std::collections::{BTreeMap, BTreeSet};

/// What an Instance asks of a host, apart from room: the same for many Instances.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Constraints {
    /// Taints that it bears.
    pub tolerations: Vec<Toleration>,
    /// Labels that the Node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Terms of which the Node must match one.
    pub node_affinity: Option<NodeSelector>,
    /// Terms that the Node had better match.
    pub preferred: Vec<PreferredNode>,
    /// The image's architecture.
    pub architecture: Option<String>,
    /// The image's virtualization type.
    pub virtualization_type: Option<VirtualizationType>,
    /// Physical networks that the host must have a NIC in; each once, by name.
    pub uplinks: Vec<UplinkNeed>,
    /// The conditions of a Hypervisor that must not be False because of its networks; each once.
    pub networks: BTreeSet<&'static str>,
}

impl Constraints {
    /// Asks for what these segments need of a host.
    pub fn connect<'a>(&mut self, segments: impl Iterator<Item = &'a BoundSegment> + Clone) {
        self.uplinks = UplinkNeed::of(segments.clone());
        self.networks = segments.flat_map(|s| need_of(s.type_)).collect();
    }

    /// The conditions of a Hypervisor that must not be False.
    pub(super) fn needs(&self) -> impl Iterator<Item = &&'static str> {
        EVERY_INSTANCE_NEEDS.iter().chain(&self.networks)
    }
}

/// A physical network that a host must have a NIC in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkNeed {
    /// Its name.
    pub physical_network: String,
    /// Largest packet that the NIC must carry, in bytes.
    pub mtu: u32,
}

impl UplinkNeed {
    /// What these segments need.
    fn of<'a>(segments: impl Iterator<Item = &'a BoundSegment>) -> Vec<Self> {
        let mut needs: BTreeMap<&str, u32> = BTreeMap::new();
        for segment in segments {
            if let Some(name) = &segment.physical_network {
                let mtu = needs.entry(name).or_default();
                *mtu = segment.mtu.max(*mtu);
            }
        }
        let uplink = |(name, mtu): (&str, u32)| Self {
            physical_network: name.to_owned(),
            mtu,
        };
        needs.into_iter().map(uplink).collect()
    }
}

/// Certain instances of the namespace, and how near.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// The instances.
    pub selector: LabelSelector,
    /// The label of Nodes by which two are near each other.
    pub topology_key: String,
}

/// All that an Instance asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Its uid.
    pub uid: String,
    /// Its namespace and name.
    pub key: ObjectKey,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The room that it needs.
    pub resources: Resources,
    /// What else the host must be.
    pub constraints: Constraints,
    /// Instances that it must be near.
    pub affinity: Vec<Term>,
    /// Instances that it must not be near.
    pub anti_affinity: Vec<Term>,
    /// Instances that it had better be near (positive) or not near (negative), by weight.
    pub preferred: Vec<(i64, Term)>,
    /// Nodes that refused it.
    pub refused: BTreeSet<String>,
}

impl From<&InstanceAffinityTerm> for Term {
    fn from(term: &InstanceAffinityTerm) -> Self {
        Self {
            selector: term.label_selector.clone(),
            topology_key: term.topology_key.clone(),
        }
    }
}

fn required(rules: Option<&InstanceAffinity>) -> Vec<Term> {
    rules
        .into_iter()
        .flat_map(|rules| rules.required.iter().map(Term::from))
        .collect()
}

fn preferred(rules: Option<&InstanceAffinity>, sign: i64) -> impl Iterator<Item = (i64, Term)> {
    rules.into_iter().flat_map(move |rules| {
        let terms = rules.preferred.iter();
        terms.map(move |p| {
            let term = Term::from(&p.instance_affinity_term);
            (sign * i64::from(p.weight), term)
        })
    })
}

/// The required anti-affinity of an Instance: it holds for those who come after it too.
pub(crate) fn anti_affinity(instance: &Instance) -> Vec<Term> {
    let affinity = instance.spec.affinity.as_ref();
    required(affinity.and_then(|a| a.instance_anti_affinity.as_ref()))
}

impl Request {
    /// What the Instance asks, with an image of those requirements.
    #[must_use]
    pub fn new(
        instance: &Instance,
        resources: Resources,
        requirements: Option<&ImageRequirements>,
    ) -> Self {
        let Affinity {
            node_affinity,
            instance_affinity,
            instance_anti_affinity,
        } = instance.spec.affinity.clone().unwrap_or_default();
        let node_affinity = node_affinity.unwrap_or_default();
        let (near, apart) = (instance_affinity.as_ref(), instance_anti_affinity.as_ref());
        Self {
            uid: uid(&instance.metadata).to_owned(),
            key: ObjectKey::of(&instance.metadata),
            labels: instance.metadata.labels.clone().unwrap_or_default(),
            resources,
            constraints: Constraints {
                tolerations: instance.spec.tolerations.clone().unwrap_or_default(),
                node_selector: instance.spec.node_selector.clone().unwrap_or_default(),
                node_affinity: node_affinity.required,
                preferred: node_affinity.preferred,
                architecture: requirements.and_then(|r| r.architecture.clone()),
                virtualization_type: requirements.and_then(|r| r.virtualization_type),
                uplinks: Vec::new(),
                networks: BTreeSet::new(),
            },
            affinity: required(near),
            anti_affinity: required(apart),
            preferred: preferred(near, 1).chain(preferred(apart, -1)).collect(),
            refused: BTreeSet::new(),
        }
    }
}
