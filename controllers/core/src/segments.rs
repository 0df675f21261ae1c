//! Which Network has which segment of a physical network: one each, of whatever class, until
//! nothing names it any more.
//!
//! A segment is held by the Network that has it, and by every binding, Segment and orphan that
//! names it: a Network that was removed by force leaves its frames on the wire for as long as a
//! port of it is anywhere.

use crate::placement::selects;
use kilonova_crds::node::SegmentSpec;
use kilonova_crds::v1alpha1::{
    BoundSegment, Network, NetworkClass, NetworkClassSpec, SegmentStatus, SegmentType,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A segment of a physical network, by what tells its frames from others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentKey {
    physical_network: Arc<str>,
    /// The VLAN; none: the frames without a tag.
    id: Option<u32>,
}

impl SegmentKey {
    /// `None` where it is in no physical network: such segments never meet.
    fn new(physical_network: Option<&String>, id: Option<u32>) -> Option<Self> {
        let physical_network = Arc::from(physical_network?.as_str());
        Some(Self {
            physical_network,
            id,
        })
    }

    /// That of a binding or an orphan.
    #[must_use]
    pub fn of_bound(segment: &BoundSegment) -> Option<Self> {
        Self::new(segment.physical_network.as_ref(), segment.id)
    }

    /// That of a Segment on a node.
    #[must_use]
    pub fn of_spec(segment: &SegmentSpec) -> Option<Self> {
        Self::new(segment.physical_network.as_ref(), segment.id)
    }

    /// That of a Network.
    #[must_use]
    pub fn of_status(segment: &SegmentStatus) -> Option<Self> {
        Self::new(segment.physical_network.as_ref(), segment.id)
    }
}

/// Why a Network gets no segment now. Its `Display` is the sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSegment {
    /// Its class does not exist.
    #[error("there is no NetworkClass {0:?}")]
    ClassMissing(String),
    /// Its namespace's labels are not those that the class allows.
    #[error(
        "namespace {namespace:?} may have no Network of class {class:?}: its labels do not match the class's allowedNamespaces"
    )]
    NotAllowed {
        /// The namespace.
        namespace: String,
        /// The class.
        class: String,
    },
    /// The class is flat, and names no namespaces.
    #[error(
        "no namespace may have a Network of class {0:?}: it is flat, and has no allowedNamespaces"
    )]
    NobodyAllowed(String),
    /// Every id of its class is held.
    #[error("every VLAN id of class {class:?} is taken: {ids}")]
    IdsExhausted {
        /// The class.
        class: String,
        /// Its ranges.
        ids: String,
    },
    /// The physical network's untagged frames are another Network's.
    #[error("the untagged frames of physical network {0:?} are another Network's already")]
    FlatTaken(String),
}

impl NoSegment {
    /// The reason, as conditions have it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ClassMissing(_) => "ClassMissing",
            Self::NotAllowed { .. } | Self::NobodyAllowed(_) => "NotAllowed",
            Self::IdsExhausted { .. } | Self::FlatTaken(_) => "NoSegmentFree",
        }
    }
}

/// Who names a segment of one Network.
#[derive(Debug, Default)]
struct Hold {
    /// The Network itself.
    network: bool,
    /// Bindings, Segments and orphans.
    uses: usize,
}

/// The ledger of segments.
#[derive(Debug, Default)]
pub struct Segments {
    /// What each Network has, by uid: as its status says, or as it was chosen and not seen yet.
    chosen: HashMap<Arc<str>, SegmentKey>,
    holders: BTreeMap<SegmentKey, BTreeMap<Arc<str>, Hold>>,
}

impl Segments {
    /// A Network's status names that segment. `None`: it names none; what was chosen stays then.
    /// Whether something came free.
    pub fn set_network(&mut self, uid: &Arc<str>, key: Option<SegmentKey>) -> bool {
        let Some(key) = key else {
            return false;
        };
        if self.chosen.get(uid) == Some(&key) {
            return false;
        }
        let freed = self.forget_network(uid);
        let holders = self.holders.entry(key.clone()).or_default();
        holders.entry(Arc::clone(uid)).or_default().network = true;
        self.chosen.insert(Arc::clone(uid), key);
        freed
    }

    /// The Network is gone. Whether something came free.
    pub fn forget_network(&mut self, uid: &str) -> bool {
        let Some(key) = self.chosen.remove(uid) else {
            return false;
        };
        self.change(&key, uid, |hold| hold.network = false)
    }

    /// A binding, Segment or orphan names it.
    pub fn hold(&mut self, key: &SegmentKey, network_uid: &Arc<str>) {
        let holders = self.holders.entry(key.clone()).or_default();
        holders.entry(Arc::clone(network_uid)).or_default().uses += 1;
    }

    /// One of those names it no more. Whether it came free.
    pub fn release(&mut self, key: &SegmentKey, network_uid: &str) -> bool {
        self.change(key, network_uid, |hold| {
            hold.uses = hold.uses.saturating_sub(1);
        })
    }

    fn change(&mut self, key: &SegmentKey, uid: &str, change: impl FnOnce(&mut Hold)) -> bool {
        let Some(holders) = self.holders.get_mut(key) else {
            return false;
        };
        let Some(hold) = holders.get_mut(uid) else {
            return false;
        };
        change(hold);
        if hold.network || hold.uses > 0 {
            return false;
        }
        holders.remove(uid);
        if holders.is_empty() {
            self.holders.remove(key);
            return true;
        }
        false
    }

    /// Whether another Network has the better claim on a segment that this one names: it has ports
    /// and this one none, or is first by its uid where neither has. Two that have ports both stay.
    fn is_disputed(&self, key: &SegmentKey, uid: &str) -> bool {
        let Some(holders) = self.holders.get(key) else {
            return false;
        };
        if holders.get(uid).is_some_and(|hold| hold.uses > 0) {
            return false;
        }
        let mut others = holders.iter().filter(|(other, _)| ***other != *uid);
        others.any(|(other, hold)| hold.uses > 0 || **other < *uid)
    }

    /// The segment of a Network: the one that it has, else one that its class has free, which is
    /// its own from then on.
    ///
    /// # Errors
    /// Why it gets none.
    pub fn assign(
        &mut self,
        network: &Network,
        class: Option<&NetworkClass>,
        namespace_labels: &BTreeMap<String, String>,
    ) -> Result<SegmentStatus, NoSegment> {
        let uid: Arc<str> = Arc::from(crate::key::uid(&network.metadata));
        let status = network.status.as_ref();
        if let Some(has) = status.and_then(|s| s.segment.as_ref()) {
            let disputed =
                SegmentKey::of_status(has).is_some_and(|key| self.is_disputed(&key, &uid));
            if !disputed {
                return Ok(has.clone());
            }
            self.forget_network(&uid);
        }
        let name = &network.spec.class;
        let class = class.ok_or_else(|| NoSegment::ClassMissing(name.clone()))?;
        let namespace = network.metadata.namespace.as_deref().unwrap_or_default();
        allowed(class, name, namespace, namespace_labels)?;
        let id = self.choose(&class.spec, name, &uid)?;
        let segment = SegmentStatus {
            type_: class.spec.type_,
            id,
            physical_network: class.spec.physical_network.clone(),
            mtu: class.spec.mtu(),
        };
        self.set_network(&uid, SegmentKey::of_status(&segment));
        Ok(segment)
    }

    /// The id in the class's physical network: what something of the Network names already, else
    /// the first that nobody holds.
    fn choose(
        &self,
        class: &NetworkClassSpec,
        name: &str,
        uid: &str,
    ) -> Result<Option<u32>, NoSegment> {
        let physical_network = class.physical_network.as_ref();
        let Some(network) = physical_network.filter(|_| class.type_ != SegmentType::Local) else {
            return Ok(None);
        };
        let holders = |id| {
            let key = SegmentKey::new(Some(network), id)?;
            self.holders.get(&key).filter(|holders| !holders.is_empty())
        };
        let own =
            |id: &Option<u32>| holders(*id).is_some_and(|h| h.len() == 1 && h.contains_key(uid));
        let free = |id: &Option<u32>| holders(*id).is_none();
        if class.type_ == SegmentType::Flat {
            let usable = own(&None) || free(&None);
            return if usable {
                Ok(None)
            } else {
                Err(NoSegment::FlatTaken(network.clone()))
            };
        }
        let ids = || vlan_ids(class).map(Some);
        let found = ids().find(own).or_else(|| ids().find(free));
        found.ok_or_else(|| NoSegment::IdsExhausted {
            class: name.to_owned(),
            ids: class.ids.clone().unwrap_or_default().join(", "),
        })
    }
}

/// The VLAN ids of a class, in its order; what is no range gives none.
fn vlan_ids(class: &NetworkClassSpec) -> impl Iterator<Item = u32> {
    let range = |text: &String| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        Some(first.max(1)..=last.min(4094))
    };
    let ranges = class.ids.as_deref().unwrap_or_default().iter();
    ranges.filter_map(range).flatten()
}

fn allowed(
    class: &NetworkClass,
    name: &str,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), NoSegment> {
    match &class.spec.allowed_namespaces {
        Some(selector) if selects(selector, labels) => Ok(()),
        Some(_) => Err(NoSegment::NotAllowed {
            namespace: namespace.to_owned(),
            class: name.to_owned(),
        }),
        None if class.spec.type_ == SegmentType::Flat => {
            Err(NoSegment::NobodyAllowed(name.to_owned()))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
