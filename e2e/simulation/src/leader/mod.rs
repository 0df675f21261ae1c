//! One process of the controllers: what it knows (the product's own `World`), how far each of its
//! watches has come, its queue, its workers.
//!
//! The looks are the product's, told again over a server that is a value here (`look`, `segment`):
//! each await of theirs is a point where anything else may happen.

mod calls;
mod look;
mod segment;

pub use calls::{CallError, Fate};
pub use look::RETENTION;

use crate::api::{Api, Kind};
use crate::clock;
use crate::scene::Scene;
use calls::Line;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kilonova_controllers::world::{Work, World};
use kilonova_controllers_core::cluster::Settings;
use kilonova_crds::{Domain, Hypervisor, Instance, Segment};
use look::Look;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// After how long a silent node is stale.
pub const STALE_AFTER: Duration = Duration::from_secs(40);
/// Looks at once.
const WORKERS: usize = 3;

/// What a leader knows.
pub type Known = Rc<RefCell<World>>;

/// How a look ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing is left to do until something changes.
    Settled,
    /// To be looked at again then.
    Again(Instant),
}

/// The kinds that change, each with a watch of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// Instances.
    Instances,
    /// Domains.
    Domains,
    /// Segments.
    Segments,
    /// Hypervisors.
    Hypervisors,
    /// Nodes.
    Nodes,
    /// Leases of agents.
    Leases,
}

impl Watched {
    /// All.
    pub const ALL: [Self; 6] = [
        Self::Instances,
        Self::Domains,
        Self::Segments,
        Self::Hypervisors,
        Self::Nodes,
        Self::Leases,
    ];
}

macro_rules! by_kind {
    ($watched:expr, $generic:ident $(, $argument:expr)*) => {
        match $watched {
            Watched::Instances => $generic::<Instance>($($argument),*),
            Watched::Domains => $generic::<Domain>($($argument),*),
            Watched::Segments => $generic::<Segment>($($argument),*),
            Watched::Hypervisors => $generic::<Hypervisor>($($argument),*),
            Watched::Nodes => $generic::<Node>($($argument),*),
            Watched::Leases => $generic::<Lease>($($argument),*),
        }
    };
}

/// A look that is under way.
struct Task {
    work: Work,
    line: Line,
    look: Pin<Box<dyn Future<Output = Result<Done, CallError>>>>,
}

/// What a piece of work sorts by.
type Rank = (u8, String, String);

/// One process.
pub struct Leader {
    /// The number of its leadership.
    pub term: u64,
    known: Known,
    woken: Rc<RefCell<Vec<Work>>>,
    /// How many entries of each log it has seen; nothing before it listed the kind.
    seen: BTreeMap<Watched, usize>,
    live: bool,
    queue: BTreeMap<Rank, Work>,
    later: Vec<(Instant, Work)>,
    tasks: Vec<Task>,
    /// What was asked for again while it was under way.
    again: BTreeSet<Rank>,
}

impl Leader {
    /// A process that took the Lease with that number, and has read nothing yet.
    #[must_use]
    pub fn new(term: u64, scene: &Scene) -> Self {
        let world = World::new(Settings::default(), STALE_AFTER).with_clock(clock::steady);
        let known = Rc::new(RefCell::new(world));
        scene.tell(&mut known.borrow_mut());
        Self {
            term,
            known,
            woken: Rc::default(),
            seen: BTreeMap::new(),
            live: false,
            queue: BTreeMap::new(),
            later: Vec::new(),
            tasks: Vec::new(),
            again: BTreeSet::new(),
        }
    }

    /// Whether it has read everything, and works.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// What it knows.
    #[must_use]
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Lists the next kind that was not listed yet; with the last one it begins to work.
    pub fn read(&mut self, api: &Api) {
        let unread = |watched: &Watched| !self.seen.contains_key(watched);
        if let Some(watched) = Watched::ALL.into_iter().find(unread) {
            let entries = by_kind!(watched, entries, api);
            let _ = self.list(api, watched, entries);
        } else if !self.live {
            self.live = true;
            let work = self.known.borrow_mut().go_live(clock::steady());
            self.enqueue(work);
        }
    }

    /// A watch delivers the next entry of its log; true where there was one.
    pub fn deliver(&mut self, api: &Api, watched: Watched) -> bool {
        let Some(seen) = self.seen.get_mut(&watched) else {
            return false;
        };
        let work = by_kind!(watched, take, &mut self.known.borrow_mut(), api, *seen);
        let Some(work) = work else {
            return false;
        };
        *seen += 1;
        self.enqueue(work);
        true
    }

    /// A watch was broken, and delivers the last so many entries once more.
    pub fn deliver_again(&mut self, api: &Api, watched: Watched, entries: usize) {
        let Some(seen) = self.seen.get(&watched).copied() else {
            return;
        };
        for entry in seen.saturating_sub(entries)..seen {
            let work = by_kind!(watched, take, &mut self.known.borrow_mut(), api, entry);
            self.enqueue(work.unwrap_or_default());
        }
    }

    /// How many entries of a log it has seen.
    #[must_use]
    pub fn seen_of(&self, watched: Watched) -> usize {
        self.seen.get(&watched).copied().unwrap_or_default()
    }

    /// How many entries of a log it has not seen yet.
    #[must_use]
    pub fn unseen(&self, api: &Api, watched: Watched) -> usize {
        by_kind!(watched, entries, api).saturating_sub(self.seen_of(watched))
    }

    /// The watch is lost: lists anew, as of so many entries of the log. False where the server has
    /// gone back in time by that, and the process must end.
    #[must_use]
    pub fn list(&mut self, api: &Api, watched: Watched, entries: usize) -> bool {
        let listed = by_kind!(watched, relist, &mut self.known.borrow_mut(), api, entries);
        let Some(work) = listed else {
            return false;
        };
        self.seen.insert(watched, entries);
        self.enqueue(work);
        true
    }

    /// It does not see for a moment whether nodes are alive.
    pub fn blink(&mut self) {
        let work = {
            let mut known = self.known.borrow_mut();
            known.lost(clock::steady());
            known.contact(clock::steady())
        };
        self.enqueue(work);
    }

    /// How many looks are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.tasks.len()
    }

    /// Whether something is queued for now.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.later.iter().any(|(at, _)| *at <= clock::steady())
    }

    /// A worker takes one of what is queued; `choice` says which.
    pub fn start(&mut self, choice: usize) -> Option<String> {
        self.promote();
        if !self.live || self.tasks.len() >= WORKERS || self.queue.is_empty() {
            return None;
        }
        let rank = self.queue.keys().nth(choice % self.queue.len())?.clone();
        let work = self.queue.remove(&rank)?;
        if self.tasks.iter().any(|task| task.work == work) {
            self.again.insert(rank);
            return None;
        }
        let told = format!("leader {} looks at {work:?}", self.term);
        if let Work::Node(node) = &work {
            self.look_at_node(node);
            return Some(told);
        }
        let line = Line::default();
        let look = Look {
            known: Rc::clone(&self.known),
            line: line.clone(),
            term: self.term,
            work: work.clone(),
            woken: Rc::clone(&self.woken),
        };
        let look: Pin<Box<dyn Future<Output = _>>> = match &work {
            Work::Instance(uid) => Box::pin(look::instance(look, uid.clone())),
            Work::Segment(key) => Box::pin(segment::segment(look, key.clone())),
            // They never change here, and are not queued.
            Work::Network(_) | Work::Image(_) | Work::KeyPair(_) | Work::Node(_) => return None,
        };
        self.tasks.push(Task { work, line, look });
        self.advance(self.tasks.len() - 1);
        Some(told)
    }

    /// The request of a look arrives, or its answer is heard and it goes on.
    pub fn go_on(&mut self, api: &mut Api, task: usize, fate: Fate) -> Option<String> {
        let under_way = self.tasks.get(task)?;
        let work = under_way.work.clone();
        if under_way.line.is_busy() {
            under_way.line.arrive(api, fate);
            return Some(format!(
                "leader {}: request for {work:?}: {fate:?}",
                self.term
            ));
        }
        let ended = self.advance(task);
        Some(match ended {
            Some(ended) => format!("leader {}: {work:?}: {ended:?}", self.term),
            None => format!("leader {}: {work:?} goes on", self.term),
        })
    }

    /// Polls a look; takes its end in.
    fn advance(&mut self, task: usize) -> Option<Result<Done, CallError>> {
        let mut context = Context::from_waker(Waker::noop());
        let polled = self.tasks.get_mut(task)?.look.as_mut().poll(&mut context);
        let woken = std::mem::take(&mut *self.woken.borrow_mut());
        self.enqueue(woken);
        let Poll::Ready(result) = polled else {
            return None;
        };
        let work = self.tasks.remove(task).work;
        if self.again.remove(&rank(&work)) || result.is_err() {
            self.enqueue(vec![work]);
        } else if let Ok(Done::Again(at)) = result {
            self.later.push((at, work));
        }
        Some(result)
    }

    /// As the controllers' `reconcile::hypervisor` has it, without what it writes.
    fn look_at_node(&mut self, node: &str) {
        let (now, mut follow) = (clock::now(), Vec::new());
        let again = {
            let mut known = self.known.borrow_mut();
            known.refresh_health(node, now.steady, &mut follow);
            known.settle(now.steady, &mut follow);
            let facts = known.hypervisor_facts(node, crate::scene::CLUSTER, now);
            facts.and_then(|facts| facts.again)
        };
        let work = Work::Node(node.to_owned());
        follow.retain(|other| *other != work);
        self.enqueue(follow);
        self.later.extend(again.map(|at| (at, work)));
    }

    fn promote(&mut self) {
        let now = clock::steady();
        let (due, later) = std::mem::take(&mut self.later)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.later = later;
        self.enqueue(due.into_iter().map(|(_, work)| work).collect());
    }

    fn enqueue(&mut self, work: Vec<Work>) {
        for work in work {
            if matches!(work, Work::Network(_) | Work::Image(_) | Work::KeyPair(_)) {
                continue;
            }
            let rank = rank(&work);
            if self.tasks.iter().any(|task| task.work == work) {
                self.again.insert(rank);
            } else {
                self.queue.insert(rank, work);
            }
        }
    }
}

/// An order of its own: the world's maps have none that is the same twice.
fn rank(work: &Work) -> Rank {
    match work {
        Work::Instance(uid) => (0, uid.clone(), String::new()),
        Work::Segment(key) => (1, key.namespace.clone(), key.name.clone()),
        Work::Node(name) => (2, name.clone(), String::new()),
        Work::Network(key) | Work::KeyPair(key) => (3, key.namespace.clone(), key.name.clone()),
        Work::Image(id) => (4, id.namespace.clone(), id.name.clone()),
    }
}

fn entries<K: Kind>(api: &Api) -> usize {
    K::table(api).log.len()
}

fn take<K: Kind>(known: &mut World, api: &Api, entry: usize) -> Option<Vec<Work>> {
    let event = K::table(api).log.get(entry)?;
    Some(if event.deleted {
        known.deleted(&*event.object)
    } else {
        known.seen((*event.object).clone())
    })
}

fn relist<K: Kind>(known: &mut World, api: &Api, entries: usize) -> Option<Vec<Work>> {
    let table = K::table(api);
    // Nothing else happened to the kind until the next entry.
    let version = match table.log.get(entries) {
        Some(next) => version_of(&*next.object).saturating_sub(1),
        None => api.version(),
    };
    known.replaced(table.as_of(entries), version).ok()
}

fn version_of<K: Kind>(object: &K) -> u64 {
    let version = object.meta().resource_version.as_deref();
    version.and_then(|v| v.parse().ok()).unwrap_or_default()
}
