//! What is remembered of a schedule to judge it by: what people did, which disks were made, and
//! the first law that was broken.

use crate::api::Api;
use crate::clock;
use crate::leader::RETENTION;
use crate::node::Machine;
use crate::random::Random;
use k8s_openapi::jiff::SignedDuration;
use kilonova_agent_core::steps::Step;
use kilonova_crds::Instance;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A way that a schedule went. One that no schedule goes proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// More than one process believed to lead, and worked.
    TwoLeaders,
    /// The policy refused a write of one that leads no more.
    Fenced,
    /// A binding was taken back.
    TakenBack,
    /// A node refused a Domain.
    Refused,
    /// A Domain was given up with its node.
    Forfeited,
    /// A Domain was abandoned, its disk kept.
    Abandoned,
    /// A node held an orphan.
    Orphan,
    /// An Instance was let go, and all of it was gone.
    Purged,
}

impl Mark {
    /// All.
    pub const ALL: [Self; 8] = [
        Self::TwoLeaders,
        Self::Fenced,
        Self::TakenBack,
        Self::Refused,
        Self::Forfeited,
        Self::Abandoned,
        Self::Orphan,
        Self::Purged,
    ];
}

/// What is remembered.
pub struct Evidence {
    /// Whether the story is told as it goes.
    trace: bool,
    /// Its own chance, for what is lost on the way.
    chance: Random,
    /// How many of a hundred messages are lost.
    pub loss: usize,
    /// Uids of Instances whose deletion was asked for.
    pub deleted: BTreeSet<String>,
    /// Uids of Instances that were removed by force, and when.
    pub forced: BTreeMap<String, Duration>,
    /// UUIDs of those whose root disk was made.
    made: BTreeSet<String>,
    /// Ways that it went.
    pub marks: BTreeSet<Mark>,
    /// The first law that was broken.
    broken: Option<String>,
}

impl Evidence {
    /// Nothing happened yet.
    #[must_use]
    pub fn new(seed: u64, trace: bool) -> Self {
        Self {
            trace,
            chance: Random::new(!seed),
            loss: 0,
            deleted: BTreeSet::new(),
            forced: BTreeMap::new(),
            made: BTreeSet::new(),
            marks: BTreeSet::new(),
            broken: None,
        }
    }

    /// Tells the next line of the story, where anyone listens.
    pub fn say(&self, line: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>6}s {}", clock::passed().as_secs(), line());
        }
    }

    /// Whether this message is lost.
    pub fn is_lost(&mut self) -> bool {
        let loss = self.loss;
        self.chance.chance(loss)
    }

    /// A law was broken.
    pub fn broke(&mut self, law: String) {
        self.broken.get_or_insert(law);
    }

    /// The first law that was broken.
    #[must_use]
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// An agent is about to do that.
    pub fn before(&mut self, api: &Api, machine: &Machine, uuid: &str, step: &Step) {
        let Some(here) = machine.here.get(uuid) else {
            return;
        };
        if *step != Step::RemoveFiles || !here.has_disk() {
            return;
        }
        if let Some(instance) = living(api, uuid) {
            let name = instance.name_any();
            self.broke(format!(
                "the disk of {name}, which nobody deleted, is removed"
            ));
            return;
        }
        let owner = here
            .files
            .as_ref()
            .and_then(|f| Some(f.record.as_ref()?.owner.uid.clone()))
            .unwrap_or_else(|| uuid.to_owned());
        if self.deleted.contains(&owner) {
            return;
        }
        let kept = |since: &Duration| {
            let passed = SignedDuration::try_from(clock::passed().saturating_sub(*since));
            passed.is_ok_and(|passed| passed < RETENTION)
        };
        match self.forced.get(&owner) {
            None => self.broke(format!(
                "the disk of {owner} is removed, and nobody said so"
            )),
            Some(since) if kept(since) => {
                self.broke(format!("the disk of {owner} is removed before its time"));
            }
            Some(_) => {}
        }
    }

    /// An agent did that.
    pub fn after(&mut self, machine: &Machine, uuid: &str, step: &Step, done: bool) {
        let first = !matches!(step, Step::CreateDisk { .. }) || !done;
        if !first && !self.made.insert(uuid.to_owned()) {
            let node = &machine.name;
            self.broke(format!("a second, blank disk is made for {uuid} on {node}"));
        }
    }
}

/// The Instance of that UUID that nobody deleted.
fn living<'a>(api: &'a Api, uuid: &str) -> Option<&'a Arc<Instance>> {
    let is_its = |instance: &&Arc<Instance>| {
        let bound = instance.status.as_ref().and_then(|s| s.uuid.as_deref());
        bound == Some(uuid) || instance.metadata.uid.as_deref() == Some(uuid)
    };
    let mut all = api.all::<Instance>().filter(is_its);
    all.find(|i| i.metadata.deletion_timestamp.is_none())
}
