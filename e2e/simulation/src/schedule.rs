//! One schedule: who acts next, and what is lost on the way, as the seed has it; the laws are
//! looked at after each act.

use crate::agent::Agent;
use crate::api::Api;
use crate::clock;
use crate::evidence::Evidence;
use crate::laws;
use crate::leader::{Fate, Leader, Watched};
use crate::node::Machine;
use crate::random::Random;
use crate::scene::{self, GIB, Scene};
use crate::story::Story;
use kilonova_crds::Instance;
use kube::ResourceExt;
use std::collections::BTreeMap;
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
    act: usize,
    /// Instances that were there, by uid.
    there: BTreeMap<String, String>,
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
            there: BTreeMap::new(),
        }
    }

    /// Runs it: faults first, then rest.
    ///
    /// # Errors
    /// The first law that does not hold.
    pub fn run(mut self) -> Result<(), Broken> {
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
        self.gone();
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
        let of = |i: &std::sync::Arc<Instance>| (i.uid().unwrap_or_default(), i.name_any());
        let now: BTreeMap<String, String> = self.api.all::<Instance>().map(of).collect();
        let before = std::mem::replace(&mut self.there, now);
        for (uid, name) in before {
            if self.there.contains_key(&uid) || self.evidence.forced.contains_key(&uid) {
                continue;
            }
            for machine in &self.machines {
                let left = machine.here.get(&uid);
                let left = left.is_some_and(|here| here.has_disk() || here.is_active());
                if left && !laws::declared_gone(&self.api, &machine.name) && !self.given_up(machine, &uid) {
                    let node = &machine.name;
                    self.evidence.broke(format!("{name} was let go, and is still on {node}"));
                }
            }
        }
    }

    fn given_up(&self, machine: &Machine, uid: &str) -> bool {
        let namespace = kilonova_crds::names::node_namespace(&machine.name);
        let domain = self.api.get::<kilonova_crds::Domain>(&namespace, uid);
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
                    self.evidence.say(|| format!("leader {term} ends: the server went back"));
                    self.leaders.remove(chosen);
                }
            }
        }
    }

    /// Another process takes the Lease.
    pub(crate) fn lead(&mut self) {
        self.api.term += 1;
        let term = self.api.term;
        self.evidence.say(|| format!("leader {term} takes the Lease"));
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
