//! Where the instances are that affinity asks about, counted as they come and go.
//!
//! For each selector that was asked for lately there is a count on each host; and for each required
//! anti-affinity of instances that are placed, because it holds for those who come after them.

use super::counts::Counts;
use super::matching::selects;
use super::request::Term;
use kilonova_crds::v1alpha1::affinity::LabelSelector;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Selectors of a namespace that are kept; the one asked for longest ago goes first.
const MAX_SELECTORS: usize = 64;

type Labels = BTreeMap<String, String>;

/// An Instance as affinity sees it.
#[derive(Debug, Default)]
struct Item {
    labels: Labels,
    anti_affinity: Vec<Term>,
    slots: Vec<usize>,
}

/// One namespace.
#[derive(Debug, Default)]
struct Space {
    items: HashMap<Arc<str>, Item>,
    selectors: Vec<(LabelSelector, Counts)>,
    anti_affinity: Vec<(Term, Counts)>,
}

/// All that is placed, by namespace and Instance uid.
#[derive(Debug, Default)]
pub struct Placed(HashMap<String, Space>);

impl Space {
    /// Counts an item on one of its slots in or out.
    fn count(&mut self, uid: &str, slot: usize, up: bool) {
        let Some(item) = self.items.get(uid) else {
            return;
        };
        for (selector, counts) in &mut self.selectors {
            if selects(selector, &item.labels) {
                counts.adjust(slot, up);
            }
        }
        for term in &item.anti_affinity {
            let place = self.anti_affinity.iter().position(|(t, _)| t == term);
            let place = place.unwrap_or_else(|| {
                self.anti_affinity.push((term.clone(), Counts::default()));
                self.anti_affinity.len() - 1
            });
            self.anti_affinity[place].1.adjust(slot, up);
        }
        self.anti_affinity.retain(|(_, counts)| !counts.is_empty());
    }

    /// Counts all items anew.
    fn count_all(&self, selector: &LabelSelector) -> Counts {
        let mut counts = Counts::default();
        let chosen = self.items.values().filter(|i| selects(selector, &i.labels));
        for slot in chosen.flat_map(|item| &item.slots) {
            counts.add(*slot);
        }
        counts
    }

    /// Changes an item, and what is counted with it.
    fn change(&mut self, uid: &Arc<str>, change: impl FnOnce(&mut Item)) {
        let slots = |space: &Self| space.items.get(uid).map(|i| i.slots.clone());
        for slot in slots(self).unwrap_or_default() {
            self.count(uid, slot, false);
        }
        let item = self.items.entry(Arc::clone(uid)).or_default();
        change(item);
        for slot in slots(self).unwrap_or_default() {
            self.count(uid, slot, true);
        }
    }
}

impl Placed {
    /// The Instance exists with those labels and that required anti-affinity; whether they differ
    /// from before.
    pub fn describe(
        &mut self,
        namespace: &str,
        uid: &Arc<str>,
        labels: &Labels,
        anti_affinity: Vec<Term>,
    ) -> bool {
        let space = self.0.entry(namespace.to_owned()).or_default();
        if let Some(item) = space.items.get(uid)
            && item.labels == *labels
            && item.anti_affinity == anti_affinity
        {
            return false;
        }
        space.change(uid, |item| {
            item.labels.clone_from(labels);
            item.anti_affinity = anti_affinity;
        });
        true
    }

    /// The Instance is gone: where a Domain or an orphan of it still is, nobody is near it.
    pub fn forget(&mut self, namespace: &str, uid: &str) {
        let Some(space) = self.0.get_mut(namespace) else {
            return;
        };
        let slots = space.items.get(uid).map(|item| item.slots.clone());
        for slot in slots.unwrap_or_default() {
            space.count(uid, slot, false);
        }
        space.items.remove(uid);
        if space.items.is_empty() {
            self.0.remove(namespace);
        }
    }

    /// Whether the Instance claims something on the slot; of use only for one that was described.
    /// Returns whether that differs from before.
    pub fn set(&mut self, namespace: &str, uid: &Arc<str>, slot: usize, there: bool) -> bool {
        let Some(space) = self.0.get_mut(namespace) else {
            return false;
        };
        let Some(item) = space.items.get_mut(uid) else {
            return false;
        };
        match (there, item.slots.iter().position(|s| *s == slot)) {
            (true, None) => item.slots.push(slot),
            (false, Some(place)) => {
                item.slots.swap_remove(place);
            }
            _ => return false,
        }
        space.count(uid, slot, there);
        true
    }

    /// Where the instances of the namespace are that the selector chooses.
    pub fn counts(&mut self, namespace: &str, selector: &LabelSelector) -> Option<&Counts> {
        let space = self.0.get_mut(namespace)?;
        if let Some(place) = space.selectors.iter().position(|(s, _)| s == selector) {
            space.selectors[..=place].rotate_right(1);
        } else {
            let counts = space.count_all(selector);
            space.selectors.truncate(MAX_SELECTORS - 1);
            space.selectors.insert(0, (selector.clone(), counts));
        }
        space.selectors.first().map(|(_, counts)| counts)
    }

    /// The slots on which the Instance claims something.
    pub fn slots(&self, namespace: &str, uid: &str) -> &[usize] {
        let item = self.0.get(namespace).and_then(|s| s.items.get(uid));
        item.map_or(&[], |item| item.slots.as_slice())
    }

    /// The required anti-affinity of those that are placed which is against those labels.
    pub fn against<'a>(
        &'a self,
        namespace: &str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = (&'a Term, &'a Counts)> {
        self.0
            .get(namespace)
            .into_iter()
            .flat_map(|space| &space.anti_affinity)
            .filter(|(term, _)| selects(&term.selector, labels))
            .map(|(term, counts)| (term, counts))
    }
}
