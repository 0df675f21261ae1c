//! The work queue: which keys are to be looked at, each at most once in the queue and by at most
//! one worker at a time.
//!
//! A key that is added while a worker has it is queued again when the worker is done. A key that
//! failed comes back after a delay that doubles up to a cap; the count of its failures lives here,
//! and goes when it succeeds.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Delay after the first failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// The longest delay between two tries.
const BACKOFF_CAP: Duration = Duration::from_secs(30);

/// What a worker says of the key that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing is left to do until something changes.
    Settled,
    /// To be looked at again then, if not before.
    Again(Instant),
    /// It failed: again after the key's backoff.
    Failed,
}

/// The queue.
#[derive(Debug)]
pub struct Queue<K> {
    state: Mutex<State<K>>,
    added: Notify,
}

#[derive(Debug)]
struct State<K> {
    ready: VecDeque<K>,
    queued: HashSet<K>,
    /// Keys that a worker has; true: added meanwhile.
    running: HashMap<K, bool>,
    later: BTreeMap<(Instant, u64), K>,
    deadlines: HashMap<K, (Instant, u64)>,
    failures: HashMap<K, u32>,
    serial: u64,
}

impl<K: Clone + Eq + Hash> Default for Queue<K> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                queued: HashSet::new(),
                running: HashMap::new(),
                later: BTreeMap::new(),
                deadlines: HashMap::new(),
                failures: HashMap::new(),
                serial: 0,
            }),
            added: Notify::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// Queues a key now.
    pub fn add(&self, key: K) {
        if self.state.lock().add(key) {
            self.added.notify_one();
        }
    }

    /// Queues a key for then; the earlier of two deadlines counts.
    #[cfg(test)]
    fn add_at(&self, key: K, at: Instant) {
        self.state.lock().add_at(key, at);
        self.added.notify_one();
    }

    /// The next key; waits for one. The caller has it until [`Queue::finish`].
    pub async fn take(&self) -> K {
        loop {
            let added = self.added.notified();
            let next = {
                let mut state = self.state.lock();
                state.promote(Instant::now());
                if let Some(key) = state.pop() {
                    // What is left may be another worker's, who slept through this.
                    if !state.ready.is_empty() || !state.later.is_empty() {
                        self.added.notify_one();
                    }
                    return key;
                }
                state.later.keys().next().map(|(at, _)| *at)
            };
            match next {
                None => added.await,
                Some(at) => {
                    tokio::select! {
                        () = added => {}
                        () = sleep_until(at) => {}
                    }
                }
            }
        }
    }

    /// The worker is done with a key that it took.
    pub fn finish(&self, key: K, done: Done) {
        if self.state.lock().finish(key, done, Instant::now()) {
            self.added.notify_one();
        }
    }

    /// How many keys wait for a worker now.
    pub fn depth(&self) -> usize {
        self.state.lock().ready.len()
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// True when a worker may be woken.
    fn add(&mut self, key: K) -> bool {
        if let Some(again) = self.running.get_mut(&key) {
            *again = true;
            return false;
        }
        if !self.queued.insert(key.clone()) {
            return false;
        }
        self.forget_deadline(&key);
        self.ready.push_back(key);
        true
    }

    fn add_at(&mut self, key: K, at: Instant) {
        if self.queued.contains(&key) || self.deadlines.get(&key).is_some_and(|(old, _)| *old <= at)
        {
            return;
        }
        self.forget_deadline(&key);
        self.serial += 1;
        self.later.insert((at, self.serial), key.clone());
        self.deadlines.insert(key, (at, self.serial));
    }

    fn forget_deadline(&mut self, key: &K) {
        if let Some(at) = self.deadlines.remove(key) {
            self.later.remove(&at);
        }
    }

    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.later.first_entry()
            && entry.key().0 <= now
        {
            let key = entry.remove();
            self.deadlines.remove(&key);
            self.add(key);
        }
    }

    fn pop(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        self.running.insert(key.clone(), false);
        Some(key)
    }

    fn finish(&mut self, key: K, done: Done, now: Instant) -> bool {
        let again = self.running.remove(&key).unwrap_or(false);
        if done == Done::Failed {
            let failures = self.failures.entry(key.clone()).or_default();
            *failures = failures.saturating_add(1);
            let at = now + backoff(*failures);
            // A change meanwhile is no reason to try a failing key faster.
            self.add_at(key, at);
            return true;
        }
        self.failures.remove(&key);
        if let Done::Again(at) = done {
            self.add_at(key.clone(), at);
        }
        (again && self.add(key)) || matches!(done, Done::Again(_))
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF_FIRST
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(BACKOFF_CAP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::time::timeout;

    const SHORT: Duration = Duration::from_millis(1);

    async fn none(queue: &Queue<u32>) -> bool {
        timeout(SHORT, queue.take()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_queued_once_and_never_with_two_workers() {
        let queue = Queue::default();
        queue.add(1);
        queue.add(1);
        assert_eq!(queue.take().await, 1);
        assert!(none(&queue).await, "it was queued twice");
        queue.add(1);
        assert!(none(&queue).await, "another worker has it");
        queue.finish(1, Done::Settled);
        assert_eq!(queue.take().await, 1);
        queue.finish(1, Done::Settled);
        assert!(none(&queue).await, "nobody added it since");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_up_to_the_cap_and_are_forgotten() {
        let queue = Queue::default();
        queue.add(1);
        let mut delays = Vec::new();
        for _ in 0..13 {
            let start = Instant::now();
            queue.take().await;
            delays.push(start.elapsed());
            queue.finish(1, Done::Failed);
        }
        assert_eq!(delays[0], Duration::ZERO);
        for (i, pair) in delays[1..].windows(2).enumerate() {
            assert!(pair[1] > pair[0] || pair[0] >= BACKOFF_CAP, "{i}: {pair:?}");
        }
        assert_eq!(delays[12].as_secs(), BACKOFF_CAP.as_secs());
        queue.take().await;
        queue.finish(1, Done::Settled);
        queue.add(1);
        queue.take().await;
        queue.finish(1, Done::Failed);
        let start = Instant::now();
        queue.take().await;
        assert!(start.elapsed() < 2 * BACKOFF_FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_deadline_counts_and_now_is_earlier_still() {
        let queue = Queue::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        queue.add_at(1, at(20));
        queue.add_at(1, at(10));
        queue.add_at(1, at(30));
        queue.take().await;
        assert_eq!(start.elapsed().as_secs(), 10);
        queue.finish(1, Done::Again(at(40)));
        queue.add(1);
        queue.take().await;
        assert_eq!(start.elapsed().as_secs(), 10);
        queue.finish(1, Done::Settled);
        assert!(timeout(Duration::from_mins(1), queue.take()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_worker_makes_nobody_miss_a_deadline() {
        let queue = Arc::new(Queue::default());
        let (sender, mut taken) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..2 {
            let (queue, sender) = (queue.clone(), sender.clone());
            tokio::spawn(async move {
                loop {
                    let key: u32 = queue.take().await;
                    let _ = sender.send((key, Instant::now()));
                    // Never finished: this worker stays with its first key.
                    std::future::pending::<()>().await;
                }
            });
        }
        let start = Instant::now();
        tokio::task::yield_now().await;
        queue.add_at(1, start + Duration::from_secs(5));
        queue.add(2);
        assert_eq!(taken.recv().await, Some((2, start)));
        let second = timeout(Duration::from_secs(6), taken.recv()).await;
        assert_eq!(second, Ok(Some((1, start + Duration::from_secs(5)))));
    }
}
