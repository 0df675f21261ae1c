//! How many instances on each slot, in order of slots: small, and fast to walk through.

/// Slots with how many; none with 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<(u32, u32)>);

/// A slot as it is counted; there are never as many hosts as would not fit.
fn short(slot: usize) -> u32 {
    u32::try_from(slot).unwrap_or(u32::MAX)
}

impl Counts {
    /// One more on that slot.
    pub fn add(&mut self, slot: usize) {
        let slot = short(slot);
        match self.0.binary_search_by_key(&slot, |(s, _)| *s) {
            Ok(place) => self.0[place].1 += 1,
            Err(place) => self.0.insert(place, (slot, 1)),
        }
    }

    /// One less on that slot.
    pub fn remove(&mut self, slot: usize) {
        let Ok(place) = self.0.binary_search_by_key(&short(slot), |(s, _)| *s) else {
            return;
        };
        self.0[place].1 -= 1;
        if self.0[place].1 == 0 {
            self.0.remove(place);
        }
    }

    /// One more, or one less.
    pub fn adjust(&mut self, slot: usize, up: bool) {
        if up {
            self.add(slot);
        } else {
            self.remove(slot);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Slots that have any, leaving out one instance on each of `except`.
    pub fn slots<'a>(&'a self, except: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
        let left = |slot: usize, count: u32| {
            let own = except.iter().filter(|s| **s == slot).count();
            usize::try_from(count).unwrap_or(usize::MAX) > own
        };
        self.0.iter().filter_map(move |(slot, count)| {
            let slot = *slot as usize;
            left(slot, *count).then_some(slot)
        })
    }
}
