//! Which nodes refused which Instance. A node is tried again when it reports something new; and
//! after a while in any case: that it has room again may have been reported before the refusal was
//! seen, and what takes room without being an instance is not reported at all.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// For how long a node is not tried after its first refusal; with each that follows twice as long.
const PAUSE: Duration = Duration::from_mins(5);
/// For how long it is not tried at most.
const PAUSE_MAX: Duration = Duration::from_hours(1);

/// One node's refusal of one Instance.
#[derive(Debug)]
struct Refusal {
    until: Instant,
    pause: Duration,
}

/// All refusals, by the Instance's uid and the node's name.
#[derive(Debug, Default)]
pub struct Refusals(HashMap<String, HashMap<String, Refusal>>);

impl Refusals {
    /// The node refused the Instance. Nothing changes where that is known.
    pub fn note(&mut self, uid: &str, node: &str, now: Instant) {
        let nodes = self.0.entry(uid.to_owned()).or_default();
        let known = nodes.get(node);
        if known.is_some_and(|refusal| refusal.until > now) {
            return;
        }
        let pause = known.map_or(PAUSE, |refusal| (refusal.pause * 2).min(PAUSE_MAX));
        let until = now + pause;
        nodes.insert(node.to_owned(), Refusal { until, pause });
    }

    /// The nodes that are not tried now.
    pub fn nodes(&self, uid: &str, now: Instant) -> Vec<String> {
        let nodes = self.0.get(uid).into_iter().flatten();
        let standing = nodes.filter(|(_, refusal)| refusal.until > now);
        standing.map(|(node, _)| node.clone()).collect()
    }

    /// When one of them is tried again.
    pub fn next_end(&self, uid: &str, now: Instant) -> Option<Instant> {
        let nodes = self.0.get(uid)?.values();
        nodes
            .map(|refusal| refusal.until)
            .filter(|at| *at > now)
            .min()
    }

    /// The node may be tried again; gives the uids of those that it refused.
    pub fn forgive(&mut self, node: &str) -> Vec<String> {
        let mut forgiven = Vec::new();
        self.0.retain(|uid, nodes| {
            if nodes.remove(node).is_some() {
                forgiven.push(uid.clone());
            }
            !nodes.is_empty()
        });
        forgiven
    }

    /// The Instance is gone.
    pub fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_ends_and_lasts_longer_each_time() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let after = |minutes| start + Duration::from_mins(minutes);
        refusals.note("web", "n1", start);
        // One refusal, found out twice.
        refusals.note("web", "n1", after(1));
        assert_eq!(refusals.nodes("web", after(4)), ["n1"]);
        assert_eq!(refusals.next_end("web", after(4)), Some(after(5)));
        assert!(refusals.nodes("web", after(5)).is_empty());
        assert_eq!(refusals.next_end("web", after(5)), None);
        refusals.note("web", "n1", after(6));
        assert_eq!(refusals.next_end("web", after(6)), Some(after(16)));
        for hour in 1..9 {
            refusals.note("web", "n1", after(60 * hour));
        }
        assert_eq!(refusals.next_end("web", after(481)), Some(after(540)));
        assert_eq!(refusals.forgive("n1"), ["web"]);
        refusals.note("web", "n1", after(600));
        assert_eq!(refusals.next_end("web", after(600)), Some(after(605)));
    }
}
