//! What people do, and what befalls machines and processes.

use crate::clock;
use crate::random::Random;
use crate::schedule::Schedule;
use k8s_openapi::api::core::v1::{Node, NodeSpec, Taint};
use kilonova_crds::v1alpha1::Power;
use kilonova_crds::{Domain, Instance};
use kube::ResourceExt;
use std::sync::Arc;

/// Names of Instances: few, so that they come again.
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Instances a schedule makes at most.
const INSTANCES: usize = 7;
/// Processes that may believe to lead at once.
const LEADERS: usize = 3;
/// What an operator says of a node that is lost for good.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// What kind of a story it is.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    made: usize,
    /// People remove finalizers and Domains by hand.
    by_hand: bool,
    /// Nodes are lost.
    loses_nodes: bool,
    /// Nodes have less room than they say.
    lies: bool,
    /// How many of a hundred Instances want to be apart.
    apart: usize,
}

impl Story {
    /// One of the kinds.
    #[must_use]
    pub fn new(random: &mut Random) -> Self {
        Self {
            made: 0,
            by_hand: random.chance(25),
            loses_nodes: random.chance(40),
            lies: random.chance(20),
            apart: random.below(100),
        }
    }
}

impl Schedule {
    pub(crate) fn people_act(&mut self) {
        match self.random.below(100) {
            0..50 => self.create(),
            50..72 => self.delete(),
            72..92 => self.switch(),
            92..96 if self.story.by_hand => self.remove_by_force(),
            96..100 if self.story.by_hand => self.delete_domain(),
            _ => {}
        }
    }

    fn create(&mut self) {
        if self.story.made >= INSTANCES {
            return;
        }
        let Some(name) = self.random.pick(&NAMES) else {
            return;
        };
        let group = self.random.chance(self.story.apart).then_some("g");
        let instance = self.scene.instance(name, group);
        if self.api.create(instance).is_ok() {
            self.story.made += 1;
            self.evidence
                .say(|| format!("a tenant makes {name}, group {group:?}"));
        }
    }

    fn any_instance(&mut self) -> Option<Instance> {
        let all: Vec<Arc<Instance>> = self.api.all::<Instance>().cloned().collect();
        let mut instance = (**self.random.pick(&all)?).clone();
        instance.metadata.resource_version = None;
        Some(instance)
    }

    fn delete(&mut self) {
        let Some(instance) = self.any_instance() else {
            return;
        };
        self.evidence
            .say(|| format!("a tenant deletes {}", instance.name_any()));
        self.evidence.deleted.extend(instance.uid());
        // It is there.
        let _ = self.api.delete(&instance);
    }

    fn switch(&mut self) {
        let Some(mut instance) = self.any_instance() else {
            return;
        };
        let powers = [
            Power::On,
            Power::On,
            Power::Off,
            Power::Paused,
            Power::Suspended,
        ];
        instance.spec.power = self.random.pick(&powers).copied();
        let power = instance.spec.power();
        self.evidence
            .say(|| format!("a tenant wants {} {power:?}", instance.name_any()));
        let _ = self.api.replace(instance);
    }

    /// Somebody takes our finalizer off.
    fn remove_by_force(&mut self) {
        let Some(instance) = self.any_instance() else {
            return;
        };
        self.evidence
            .say(|| format!("somebody removes {} by force", instance.name_any()));
        let uid = instance.uid().unwrap_or_default();
        self.evidence.forced.insert(uid, clock::passed());
        if let Ok(mut bare) = self.api.finalizers(&instance, Vec::new()) {
            bare.metadata.resource_version = None;
            // Where it was being deleted it is gone by now.
            let _ = self.api.delete(&bare);
        }
    }

    fn delete_domain(&mut self) {
        let all: Vec<Arc<Domain>> = self.api.all::<Domain>().cloned().collect();
        if let Some(domain) = self.random.pick(&all) {
            let name = &domain.spec.instance.name;
            self.evidence
                .say(|| format!("somebody deletes the Domain of {name}"));
            let _ = self.api.delete(&**domain);
        }
    }

    pub(crate) fn fault(&mut self) {
        match self.random.below(100) {
            0..18 if self.leaders.len() < LEADERS => self.lead(),
            18..38 => self.leader_ends(),
            38..58 => self.agent_fault(),
            58..78 if self.story.loses_nodes => self.node_fault(),
            78..86 if self.story.lies => self.room_fault(),
            86..100 => self.guest_stops(),
            _ => {}
        }
    }

    /// Mostly one that leads no more.
    fn leader_ends(&mut self) {
        let spared = usize::from(self.random.chance(70));
        let ends = self.random.below(self.leaders.len());
        if ends + spared < self.leaders.len() {
            let leader = self.leaders.remove(ends);
            self.evidence.say(|| format!("leader {} ends", leader.term));
        }
    }

    fn agent_fault(&mut self) {
        let chosen = self.random.below(self.agents.len());
        let (agent, on) = (&mut self.agents[chosen], self.machines[chosen].on);
        let node = agent.node.clone();
        if !agent.running {
            agent.running = on;
            self.evidence.say(|| format!("agent {node} starts"));
        } else if self.random.chance(50) {
            agent.crash();
            self.evidence.say(|| format!("agent {node} is killed"));
        } else {
            agent.connected = !agent.connected;
            let connected = agent.connected;
            self.evidence
                .say(|| format!("agent {node} connected: {connected}"));
        }
    }

    fn node_fault(&mut self) {
        let chosen = self.random.below(self.machines.len());
        let node = self.machines[chosen].name.clone();
        match self.random.below(100) {
            0..35 => {
                let on = self.machines[chosen].on;
                if on {
                    self.machines[chosen].lose_power();
                    self.agents[chosen].crash();
                } else {
                    self.machines[chosen].on = true;
                    self.agents[chosen].running = true;
                }
                self.evidence.say(|| format!("machine {node} on: {}", !on));
            }
            35..55 => {
                self.agents[chosen].connected = !self.agents[chosen].connected;
            }
            // An operator says so of what does not answer; he may be wrong.
            55..80 => {
                if !self.agents[chosen].talks() {
                    self.taint(&node, true);
                }
            }
            _ => self.taint(&node, false),
        }
    }

    /// Says of a node that it is gone, or that it is not.
    pub(crate) fn taint(&mut self, name: &str, gone: bool) {
        let Some(node) = self.api.get::<Node>("", name) else {
            return;
        };
        let mut node = (*node).clone();
        let taint = Taint {
            key: OUT_OF_SERVICE.to_owned(),
            effect: "NoExecute".to_owned(),
            ..Taint::default()
        };
        node.spec = gone.then(|| NodeSpec {
            taints: Some(vec![taint]),
            ..NodeSpec::default()
        });
        self.evidence
            .say(|| format!("an operator says of {name}: gone: {gone}"));
        let _ = self.api.replace(node);
    }

    /// Something that nobody knows of takes memory, or gives it back.
    fn room_fault(&mut self) {
        let chosen = self.random.below(self.machines.len());
        let machine = &mut self.machines[chosen];
        machine.hidden = if machine.hidden == 0 {
            machine.memory
        } else {
            0
        };
        self.agents[chosen].changes_kernel();
        let (name, hidden) = (machine.name.clone(), machine.hidden);
        self.evidence
            .say(|| format!("{name}: {hidden} bytes are taken by something else"));
    }

    fn guest_stops(&mut self) {
        let chosen = self.random.below(self.machines.len());
        let machine = &mut self.machines[chosen];
        let all: Vec<String> = machine.here.keys().cloned().collect();
        if let Some(uuid) = self.random.pick(&all)
            && machine.guest_stops(uuid)
        {
            self.evidence
                .say(|| format!("the guest of {uuid} shuts itself down"));
            self.agents[chosen].wake(uuid);
        }
    }
}
