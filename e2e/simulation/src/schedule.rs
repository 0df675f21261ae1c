//! One schedule: who acts next, and what is lost on the way, as the seed has it; the laws are
//! looked at after each act.

use crate::agent::Agent;
use crate::api::Api;
use crate::clock;
use crate::evidence::{Evidence, Mark};
use crate::laws;
use crate::leader::{Fate, Leader, Watched};
use crate::node::Machine;
use crate::random::Random;
use crate::scene::{self, GIB, Scene};
use crate::story::Story;
use kilonova_crds::node::{Disposition, Outcome};
use kilonova_crds::{Domain, Hypervisor, Instance, names};
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Acts under faults, at least and at most.
const ACTS: (usize, usize) = (100, 500);

/// A law that does not hold in a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, act {act}: {law}")]
pub struct Broken {
    /// The seed.
    pub seed: u64,
    /// The act after which it did not hold.
    pub act: usize,
    /// What did not hold.
    pub law: String,
}

/// How a schedule went in which every law held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// How many acts it had.
    pub acts: usize,
    /// How often the API server was written to.
    pub writes: u64,
    /// Ways that it went.
    pub marks: BTreeSet<Mark>,
}

/// One schedule.
pub struct Schedule {
    pub(crate) seed: u64,
    pub(crate) random: Random,
    pub(crate) api: Api,
    pub(crate) scene: Scene,
    pub(crate) machines: Vec<Machine>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) leaders: Vec<Leader>,
    pub(crate) evidence: Evidence,
    pub(crate) story: Story,
    pub(crate) act: usize,
    /// The state that the laws were looked at in: the server's version, the machines' changes.
    looked_at: (u64, u64),
    /// Instances that were there, by uid, with their names and nodes.
    there: BTreeMap<String, (String, Option<String>)>,
}

impl Schedule {
    /// The schedule of that seed, at its beginning; `trace` tells its story.
    #[must_use]
    pub fn new(seed: u64, trace: bool) -> Self {
        clock::begin();
        let mut random = Random::new(seed);
        let mut api = Api::default();
        // What never changes has version 1.
        api.begin_at(10);
        let count = 2 + random.below(2);
        let names: Vec<String> = (1..=count).map(|n| format!("n{n}")).collect();
        for name in &names {
            let _ = api.create(scene::node(name));
        }
        let memory = |random: &mut Random| (1 + u64::from(random.chance(60))) * GIB;
        let machines = names
            .iter()
            .map(|name| Machine::new(name, memory(&mut random)));
        let machines = machines.collect();
        let story = Story::new(&mut random);
        Self {
            seed,
            machines,
            agents: names.iter().map(|name| Agent::new(name)).collect(),
            leaders: Vec::new(),
            evidence: Evidence::new(seed, trace),
            scene: Scene::new(&names),
            story,
            random,
            api,
            act: 0,
            looked_at: (0, 0),
            there: BTreeMap::new(),
        }
    }

    /// Runs it: faults first, then rest.
    ///
    /// # Errors
    /// The first law that does not hold.
    pub fn run(mut self) -> Result<Told, Broken> {
        let acts = ACTS.0 + self.random.below(ACTS.1 - ACTS.0);
        self.evidence.loss = self.random.below(12);
        for _ in 0..acts {
            self.act();
            self.look()?;
        }
        self.rest()
    }

    fn act(&mut self) {
        match self.random.below(100) {
            0..54 => self.leader_acts(),
            54..84 => self.agent_acts(),
            84..90 => self.people_act(),
            90..96 => self.fault(),
            _ => {
                let seconds = u64::try_from(1 + self.random.below(20)).unwrap_or(1);
                clock::advance(Duration::from_secs(seconds));
            }
        }
    }

    /// Looks at the laws.
    pub(crate) fn look(&mut self) -> Result<(), Broken> {
        self.act += 1;
        let changes = self.machines.iter().map(|m| m.changes).sum();
        let now = (self.api.version(), changes);
        if self.looked_at == now {
            return Ok(());
        }
        self.looked_at = now;
        self.gone();
        self.mark();
        if let Err(law) = laws::check(&self.api, &self.machines) {
            self.evidence.broke(law);
        }
        match self.evidence.broken() {
            Some(law) => Err(self.broken(law.to_owned())),
            None => Ok(()),
        }
    }

    pub(crate) fn broken(&self, law: String) -> Broken {
        Broken {
            seed: self.seed,
            act: self.act,
            law,
        }
    }

    /// An Instance that was let go has nothing on any node that was not given up.
    fn gone(&mut self) {
        let of = |i: &Arc<Instance>| {
            let node = i.status.as_ref().and_then(|s| s.node_name.clone());
            (i.uid().unwrap_or_default(), (i.name_any(), node))
        };
        let now: BTreeMap<_, _> = self.api.all::<Instance>().map(of).collect();
        let before = std::mem::replace(&mut self.there, now);
        for (uid, (name, node)) in before {
            match self.there.get(&uid) {
                Some((_, None)) if node.is_some() => {
                    self.evidence.marks.insert(Mark::TakenBack);
                }
                Some(_) => {}
                None if self.evidence.forced.contains_key(&uid) => {}
                None => {
                    self.evidence.marks.insert(Mark::Purged);
                    self.let_go(&uid, &name);
                }
            }
        }
    }

    fn let_go(&mut self, uid: &str, name: &str) {
        for machine in &self.machines {
            let left = machine.here.get(uid);
            let left = left.is_some_and(|here| here.has_disk() || here.is_active());
            let given_up =
                laws::declared_gone(&self.api, &machine.name) || self.given_up(machine, uid);
            if left && !given_up {
                let node = &machine.name;
                let law = format!("{name} was let go, and is still on {node}");
                self.evidence.broke(law);
            }
        }
    }

    fn mark(&mut self) {
        let marks = &mut self.evidence.marks;
        let mut mark = |so: bool, mark: Mark| so.then(|| marks.insert(mark));
        let live = self.leaders.iter().filter(|leader| leader.is_live());
        mark(live.count() > 1, Mark::TwoLeaders);
        mark(self.api.fenced > 0, Mark::Fenced);
        for domain in self.api.all::<Domain>() {
            let outcome = domain.status.as_ref().and_then(|s| s.outcome);
            mark(outcome == Some(Outcome::Refused), Mark::Refused);
            mark(domain.spec.forfeited, Mark::Forfeited);
            let kept = domain.spec.disposition == Disposition::Release;
            mark(kept, Mark::Abandoned);
        }
        let orphans =
            |h: &Arc<Hypervisor>| h.status.as_ref().is_some_and(|s| !s.orphans.is_empty());
        mark(self.api.all::<Hypervisor>().any(orphans), Mark::Orphan);
    }

    fn given_up(&self, machine: &Machine, uid: &str) -> bool {
        let namespace = names::node_namespace(&machine.name);
        let domain = self.api.get::<Domain>(&namespace, uid);
        domain.is_some_and(|domain| domain.spec.forfeited)
    }

    fn fate(&mut self) -> Fate {
        if !self.evidence.is_lost() {
            return Fate::Answered;
        }
        if self.random.chance(50) {
            Fate::AnswerLost
        } else {
            Fate::Lost
        }
    }

    fn leader_acts(&mut self) {
        if self.leaders.is_empty() {
            self.lead();
            return;
        }
        let chosen = self.random.below(self.leaders.len());
        let choice = self.random.below(1000);
        if !self.leaders[chosen].is_live() {
            // It waits until the policy has followed its Lease; then it reads.
            if self.api.policy < self.leaders[chosen].term {
                self.api.policy = self.api.term;
            }
            self.leaders[chosen].read(&self.api);
            return;
        }
        match self.random.below(100) {
            0..40 => self.deliver(chosen),
            40..62 => {
                let told = self.leaders[chosen].start(choice);
                self.say(told);
            }
            62..97 => {
                let fate = self.fate();
                let tasks = self.leaders[chosen].under_way();
                let told = self.leaders[chosen].go_on(&mut self.api, choice % tasks.max(1), fate);
                self.say(told);
            }
            _ => self.watch_trouble(chosen),
        }
    }

    fn say(&self, told: Option<String>) {
        if let Some(told) = told {
            self.evidence.say(|| told);
        }
    }

    fn deliver(&mut self, leader: usize) {
        let leader = &mut self.leaders[leader];
        let unseen = |watched: &Watched| leader.unseen(&self.api, *watched) > 0;
        let all: Vec<Watched> = Watched::ALL.into_iter().filter(unseen).collect();
        if let Some(watched) = self.random.pick(&all).copied() {
            for _ in 0..=self.random.below(3) {
                leader.deliver(&self.api, watched);
            }
        }
    }

    /// A watch breaks: entries come twice, or all is listed anew, maybe from a server that lags.
    fn watch_trouble(&mut self, chosen: usize) {
        let Some(watched) = self.random.pick(&Watched::ALL).copied() else {
            return;
        };
        let leader = &mut self.leaders[chosen];
        match self.random.below(3) {
            0 => leader.deliver_again(&self.api, watched, 3),
            1 => leader.blink(),
            _ => {
                let unseen = leader.unseen(&self.api, watched);
                let seen = leader.seen_of(watched);
                let from = seen.saturating_sub(usize::from(self.random.chance(20)));
                let entries = from + self.random.below(seen + unseen - from + 1);
                if !leader.list(&self.api, watched, entries) {
                    let term = leader.term;
                    self.evidence
                        .say(|| format!("leader {term} ends: the server went back"));
                    self.leaders.remove(chosen);
                }
            }
        }
    }

    /// Another process takes the Lease.
    pub(crate) fn lead(&mut self) {
        self.api.term += 1;
        let term = self.api.term;
        self.evidence
            .say(|| format!("leader {term} takes the Lease"));
        self.leaders.push(Leader::new(term, &self.scene));
    }

    fn agent_acts(&mut self) {
        let chosen = self.random.below(self.agents.len());
        let (agent, machine) = (&mut self.agents[chosen], &mut self.machines[chosen]);
        if !machine.on || !agent.running {
            return;
        }
        let evidence = &mut self.evidence;
        match self.random.below(100) {
            0..25 => {
                agent.list(&self.api);
                agent.open_gate(machine);
                for _ in 0..=self.random.below(2) {
                    agent.deliver_domain(&self.api);
                }
            }
            25..35 => {
                agent.deliver_segment(&self.api);
            }
            35..50 => {
                let woken = agent.woken();
                if let Some(uuid) = self.random.pick(&woken) {
                    agent.pass(&mut self.api, machine, uuid, evidence);
                }
            }
            50..88 => {
                let under_way = agent.under_way();
                if let Some(uuid) = self.random.pick(&under_way) {
                    for _ in 0..=self.random.below(4) {
                        agent.step(&self.api, machine, uuid, evidence);
                    }
                }
            }
            88..92 => agent.report_node(&mut self.api, &self.scene, machine),
            92..98 => {
                if !agent.is_known() {
                    agent.report_node(&mut self.api, &self.scene, machine);
                }
                agent.renew(&mut self.api);
            }
            _ => agent.wake_all(machine),
        }
    }
}
