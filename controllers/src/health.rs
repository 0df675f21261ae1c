//! Which nodes' agents are alive, by their Leases and our own clock.
//!
//! What a Lease says of the time is another machine's opinion; only that it changed is a fact. A
//! node is stale when no change was seen for the limit, counted from our own latest start,
//! take-over or contact with the API: while we see nothing, nobody is to blame, and nobody is said
//! to be better either.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// What is known of one node's Lease.
#[derive(Debug)]
struct Seen {
    renewal: String,
    at: Instant,
    /// Whether it was renewed under our eyes, so that its agent is known to be at work.
    renewed: bool,
}

/// The Leases.
#[derive(Debug)]
pub struct Health {
    limit: Duration,
    /// Since when we are out of touch with the API, if we are: then time stands still here.
    out_of_touch: Option<Instant>,
    leases: HashMap<String, Seen>,
}

impl Health {
    /// Nothing seen yet; `limit` without a renewal makes a node stale.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            out_of_touch: None,
            leases: HashMap::new(),
        }
    }

    /// From now on we are out of touch with the API.
    pub fn lost(&mut self, now: Instant) {
        self.out_of_touch.get_or_insert(now);
    }

    /// We are in touch with the API. True when we were not: then whoever was fresh before gets the
    /// whole limit anew.
    pub fn contact(&mut self, now: Instant) -> bool {
        let Some(then) = self.out_of_touch.take() else {
            return false;
        };
        for seen in self.leases.values_mut() {
            if then < seen.at + self.limit {
                seen.at = now;
            }
        }
        true
    }

    /// That node's Lease, with the time of renewal that it says. True when the node was stale.
    pub fn seen(&mut self, node: &str, renewal: String, now: Instant) -> bool {
        let was_stale = !self.fresh(node, now);
        match self.leases.get_mut(node) {
            None => {
                let seen = Seen {
                    renewal,
                    at: now,
                    renewed: false,
                };
                self.leases.insert(node.to_owned(), seen);
            }
            Some(seen) if seen.renewal != renewal => {
                seen.renewal = renewal;
                seen.at = now;
                seen.renewed = true;
            }
            Some(_) => return false,
        }
        was_stale
    }

    /// That node's Lease is gone.
    pub fn forget(&mut self, node: &str) {
        self.leases.remove(node);
    }

    /// Whether the node's agent renewed its Lease lately. A node without a Lease never did.
    pub fn fresh(&self, node: &str, now: Instant) -> bool {
        let now = self.out_of_touch.unwrap_or(now);
        self.leases
            .get(node)
            .is_some_and(|seen| now < seen.at + self.limit)
    }

    /// When the node becomes stale if nothing is seen until then; `None` where it has no Lease, and
    /// while we are out of touch.
    pub fn stale_at(&self, node: &str) -> Option<Instant> {
        let seen = self.leases.get(node)?;
        self.out_of_touch.is_none().then_some(seen.at + self.limit)
    }

    /// Whether the Lease was renewed since we look at it: the agent has reported what it found by
    /// then, since it renews after it reports.
    pub fn renewed(&self, node: &str) -> bool {
        self.leases.get(node).is_some_and(|seen| seen.renewed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(40);

    #[test]
    fn only_renewals_that_we_saw_count() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut health = Health::new(LIMIT);
        assert!(!health.fresh("n", start), "it has no Lease");
        assert!(health.seen("n", "10:00".to_owned(), at(1)));
        assert!(health.fresh("n", at(40)) && !health.renewed("n"));
        assert!(!health.fresh("n", at(41)));
        assert!(
            !health.seen("n", "10:00".to_owned(), at(41)),
            "the same renewal"
        );
        assert!(!health.fresh("n", at(41)));
        assert!(
            health.seen("n", "09:00".to_owned(), at(50)),
            "their clock is their own"
        );
        assert!(health.fresh("n", at(89)) && health.renewed("n"));
        assert!(
            !health.seen("n", "10:10".to_owned(), at(60)),
            "it was not stale"
        );
        health.forget("n");
        assert!(!health.fresh("n", at(61)));
    }

    #[test]
    fn time_out_of_touch_blames_nobody_and_heals_nobody() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut health = Health::new(LIMIT);
        health.seen("dead", "10:00".to_owned(), at(0));
        health.seen("alive", "10:00".to_owned(), at(20));
        health.lost(at(50));
        health.lost(at(55));
        assert!(health.fresh("alive", at(500)) && !health.fresh("dead", at(500)));
        assert_eq!(health.stale_at("alive"), None);
        assert!(health.contact(at(500)) && !health.contact(at(501)));
        assert!(health.fresh("alive", at(539)) && !health.fresh("alive", at(540)));
        assert!(!health.fresh("dead", at(501)));
    }
}
