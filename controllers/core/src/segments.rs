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
    /// What is free is not known yet.
    #[error(
        "waiting until every live hypervisor has reported the domains that it holds: one of them may use the segment that this network would get"
    )]
    OrphansUnreported,
}

impl NoSegment {
    /// The reason, as conditions have it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ClassMissing(_) => "ClassMissing",
            Self::NotAllowed { .. } | Self::NobodyAllowed(_) => "NotAllowed",
            Self::IdsExhausted { .. } | Self::FlatTaken(_) => "NoSegmentFree",
            Self::OrphansUnreported => "OrphansUnreported",
        }
    }
}

/// The segment of a Network.
#[derive(Clone, Debug, PartialEq)]
pub struct Assigned {
    /// Which one.
    pub segment: SegmentStatus,
    /// Whether another Network has ports in it too, and so neither can give it up.
    pub shared: bool,
}

/// What it means to Networks that a segment is held by others than before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Change {
    /// The segment came free.
    pub freed: bool,
    /// The uids of those that contend for it, or did: each is to be looked at again.
    pub contending: Vec<Arc<str>>,
}

/// Who names a segment of one Network.
#[derive(Debug, Default)]
struct Hold {
    /// The Network itself.
    network: bool,
    /// Bindings, Segments and orphans.
    uses: usize,
}

/// All that hold one segment, by uid.
type Holders = BTreeMap<Arc<str>, Hold>;

/// Those that contend for a segment: nobody where one alone holds it.
fn contending(holders: &Holders) -> Vec<Arc<str>> {
    if holders.len() < 2 {
        return Vec::new();
    }
    holders.keys().cloned().collect()
}

/// The ledger of segments.
#[derive(Debug, Default)]
pub struct Segments {
    /// What each Network has, by uid: as its status says, or as it was chosen and not seen yet.
    chosen: HashMap<Arc<str>, SegmentKey>,
    holders: BTreeMap<SegmentKey, Holders>,
}

impl Segments {
    /// A Network's status names that segment. `None`: it names none; what was chosen stays then.
    pub fn set_network(&mut self, uid: &Arc<str>, key: Option<SegmentKey>) -> Change {
        let Some(key) = key else {
            return Change::default();
        };
        if self.chosen.get(uid) == Some(&key) {
            return Change::default();
        }
        let mut change = self.forget_network(uid);
        let holders = self.holders.entry(key.clone()).or_default();
        holders.entry(Arc::clone(uid)).or_default().network = true;
        change.contending.extend(contending(holders));
        self.chosen.insert(Arc::clone(uid), key);
        change
    }

    /// The Network is gone.
    pub fn forget_network(&mut self, uid: &str) -> Change {
        let Some(key) = self.chosen.remove(uid) else {
            return Change::default();
        };
        self.change(&key, uid, |hold| hold.network = false)
    }

    /// A binding, Segment or orphan names it.
    pub fn hold(&mut self, key: &SegmentKey, network_uid: &Arc<str>) -> Change {
        let holders = self.holders.entry(key.clone()).or_default();
        let hold = holders.entry(Arc::clone(network_uid)).or_default();
        hold.uses += 1;
        if hold.uses > 1 {
            return Change::default();
        }
        Change {
            freed: false,
            contending: contending(holders),
        }
    }

    /// One of those names it no more.
    pub fn release(&mut self, key: &SegmentKey, network_uid: &str) -> Change {
        self.change(key, network_uid, |hold| {
            hold.uses = hold.uses.saturating_sub(1);
        })
    }

    fn change(&mut self, key: &SegmentKey, uid: &str, change: impl FnOnce(&mut Hold)) -> Change {
        let Some(holders) = self.holders.get_mut(key) else {
            return Change::default();
        };
        let before = contending(holders);
        let Some(hold) = holders.get_mut(uid) else {
            return Change::default();
        };
        change(hold);
        if hold.uses > 0 {
            return Change::default();
        }
        if !hold.network {
            holders.remove(uid);
        }
        let freed = holders.is_empty();
        if freed {
            self.holders.remove(key);
        }
        Change {
            freed,
            contending: before,
        }
    }

    fn uses(&self, key: &SegmentKey, uid: &str) -> bool {
        let hold = self.holders.get(key).and_then(|holders| holders.get(uid));
        hold.is_some_and(|hold| hold.uses > 0)
    }

    fn others<'a>(
        &'a self,
        key: &SegmentKey,
        uid: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Hold)> {
        let all = self.holders.get(key).into_iter().flatten();
        all.map(|(other, hold)| (&**other, hold))
            .filter(move |(other, _)| *other != uid)
    }

    /// Whether another Network has the better claim on a segment that this one names: it has ports
    /// and this one none, or is first by its uid where neither has. Two that have ports both stay.
    fn is_disputed(&self, key: &SegmentKey, uid: &str) -> bool {
        let better = |(other, hold): (&str, &Hold)| hold.uses > 0 || other < uid;
        !self.uses(key, uid) && self.others(key, uid).any(better)
    }

    /// Whether two have ports in it.
    fn is_shared(&self, key: &SegmentKey, uid: &str) -> bool {
        self.uses(key, uid) && self.others(key, uid).any(|(_, hold)| hold.uses > 0)
    }

    /// The segment of a Network: the one that it has, else one that its class has free, which is
    /// its own from then on. `orphans_known`: every live node has said what it holds; until then
    /// what nobody names may be in use all the same.
    ///
    /// # Errors
    /// Why it gets none.
    pub fn assign(
        &mut self,
        network: &Network,
        class: Option<&NetworkClass>,
        namespace_labels: &BTreeMap<String, String>,
        orphans_known: bool,
    ) -> Result<Assigned, NoSegment> {
        let uid: Arc<str> = Arc::from(crate::key::uid(&network.metadata));
        let status = network.status.as_ref();
        if let Some(has) = status.and_then(|s| s.segment.as_ref()) {
            let key = SegmentKey::of_status(has);
            if !key.as_ref().is_some_and(|k| self.is_disputed(k, &uid)) {
                return Ok(Assigned {
                    segment: has.clone(),
                    shared: key.is_some_and(|k| self.is_shared(&k, &uid)),
                });
            }
            // Whoever is left has the better claim, and has it with or without this one.
            let _ = self.forget_network(&uid);
        }
        let name = &network.spec.class;
        let class = class.ok_or_else(|| NoSegment::ClassMissing(name.clone()))?;
        let namespace = network.metadata.namespace.as_deref().unwrap_or_default();
        allowed(class, name, namespace, namespace_labels)?;
        let id = self.choose(&class.spec, name, &uid, orphans_known)?;
        let segment = SegmentStatus {
            type_: class.spec.type_,
            id,
            physical_network: class.spec.physical_network.clone(),
            mtu: class.spec.mtu(),
        };
        // What is chosen is nobody else's.
        let _ = self.set_network(&uid, SegmentKey::of_status(&segment));
        Ok(Assigned {
            segment,
            shared: false,
        })
    }

    /// The id in the class's physical network: what something of the Network names already, else
    /// the first that nobody holds.
    fn choose(
        &self,
        class: &NetworkClassSpec,
        name: &str,
        uid: &str,
        orphans_known: bool,
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
            return match (own(&None), free(&None)) {
                (true, _) => Ok(None),
                (_, true) if !orphans_known => Err(NoSegment::OrphansUnreported),
                (_, true) => Ok(None),
                _ => Err(NoSegment::FlatTaken(network.clone())),
            };
        }
        let ids = || vlan_ids(class).map(Some);
        if let Some(id) = ids().find(own) {
            return Ok(id);
        }
        let found = ids().find(free);
        if found.is_some() && !orphans_known {
            return Err(NoSegment::OrphansUnreported);
        }
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
