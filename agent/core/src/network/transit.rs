//! The addresses of the link between a routed Segment and the node: a pair of a /31 (RFC 3021).
//!
//! They are never seen outside the node, so each node chooses for itself: from what the netns is
//! named, unless that pair is taken here.

use super::Netns;
use ipnet::Ipv4Net;
use kilonova_crds::names::short_hash;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Prefix length of a pair.
const PAIR: u8 = 31;

/// Both ends of the link out of a Segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transit {
    /// The node's address.
    pub node: Ipv4Net,
    /// The Segment's address.
    pub segment: Ipv4Net,
}

/// There is no pair left on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("every pair of addresses in {0} is taken on this node: give a wider transit range")]
pub struct Exhausted(pub Ipv4Net);

impl Transit {
    /// The pair that an address is of, when it is the node's end of one in this range.
    #[must_use]
    pub fn of(range: Ipv4Net, address: Ipv4Net) -> Option<Self> {
        let lower = address.addr();
        let fits = address.prefix_len() == PAIR && u32::from(lower) % 2 == 0;
        (fits && range.contains(&lower)).then(|| Self::at(u32::from(lower)))
    }

    /// Chooses a pair for a Segment that overlaps none of the prefixes which the node's links have.
    ///
    /// # Errors
    /// When every pair of the range is taken.
    pub fn choose(
        range: Ipv4Net,
        netns: &Netns,
        taken: &BTreeSet<Ipv4Net>,
    ) -> Result<Self, Exhausted> {
        let pairs = 1_u32 << u32::from(PAIR.saturating_sub(range.prefix_len()).min(24));
        let start = u32::from_str_radix(&short_hash(netns.as_str(), 8), 16).unwrap_or(0);
        let base = u32::from(range.network());
        (0..pairs)
            .map(|step| Self::at(base + 2 * (start.wrapping_add(step) % pairs)))
            .find(|pair| {
                let own = Ipv4Net::new_assert(pair.node.addr(), PAIR);
                !taken
                    .iter()
                    .any(|other| other.contains(&own) || own.contains(other))
            })
            .ok_or(Exhausted(range))
    }

    fn at(lower: u32) -> Self {
        Self {
            node: Ipv4Net::new_assert(Ipv4Addr::from(lower), PAIR),
            segment: Ipv4Net::new_assert(Ipv4Addr::from(lower + 1), PAIR),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn netns(n: u32) -> Netns {
        Netns::of_network(&format!("{n:08x}-0000-4000-8000-000000000000"))
    }

    #[test]
    fn pairs_never_overlap_until_the_range_is_full() {
        let range: Ipv4Net = "100.127.0.0/26".parse().unwrap();
        let mut taken = BTreeSet::new();
        for n in 0..32 {
            let pair = Transit::choose(range, &netns(n), &taken).unwrap();
            assert!(range.contains(&pair.node.addr()) && range.contains(&pair.segment.addr()));
            assert_eq!(
                u32::from(pair.node.addr()) + 1,
                u32::from(pair.segment.addr())
            );
            assert_eq!(Transit::of(range, pair.node), Some(pair));
            assert!(taken.insert(pair.node), "{pair:?} twice");
        }
        assert_eq!(
            Transit::choose(range, &netns(99), &taken),
            Err(Exhausted(range))
        );
    }

    #[test]
    fn the_choice_is_the_segments_own_and_steers_clear_of_the_nodes_links() {
        let range: Ipv4Net = "100.127.0.0/24".parse().unwrap();
        let free = BTreeSet::new();
        let first = Transit::choose(range, &netns(1), &free).unwrap();
        assert_eq!(Transit::choose(range, &netns(1), &free).unwrap(), first);
        let node: BTreeSet<_> = ["100.127.0.5/25".parse().unwrap()].into();
        for n in 0..64 {
            let pair = Transit::choose(range, &netns(n), &node).unwrap();
            assert!(u32::from(pair.node.addr()) & 0xff >= 128, "{pair:?}");
        }
    }

    #[test]
    fn what_is_no_pair_of_ours_is_not_read_as_one() {
        let range: Ipv4Net = "100.127.0.0/24".parse().unwrap();
        for other in ["100.127.0.1/31", "100.127.0.0/30", "100.126.0.0/31"] {
            assert_eq!(Transit::of(range, other.parse().unwrap()), None, "{other}");
        }
    }
}
