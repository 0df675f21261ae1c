//! When the faults end: everything comes to rest, and is then as it should be.

use crate::clock;
use crate::laws::{self, standing};
use crate::leader::{Fate, Watched};
use crate::node::Here;
use crate::scene::{ADDRESSES, GROUP, INSTANCE_MEMORY};
use crate::schedule::{Broken, Schedule, Told};
use kilonova_agent_core::observed::LibvirtState;
use kilonova_crds::condition::{find, is_true, types};
use kilonova_crds::node::Disposition;
use kilonova_crds::v1alpha1::{Power, PowerState};
use kilonova_crds::{Domain, Hypervisor, Instance, names};
use kube::ResourceExt;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Rounds in which it must come to rest.
const ROUNDS: usize = 400;
/// How long nothing happens for it to be at rest: longer than the retention of what is abandoned,
/// and than a guest that keeps stopping waits.
const IDLE: Duration = Duration::from_mins(8);
/// How much time passes in a round in which nothing happened.
const PAUSE: Duration = Duration::from_secs(30);
/// Acts of one round of one process.
const ACTS: usize = 2000;

impl Schedule {
    /// The faults end.
    ///
    /// # Errors
    /// The first law that does not hold, or what is not as it should be at rest.
    pub(crate) fn rest(mut self) -> Result<Told, Broken> {
        self.heal();
        let mut idle = Duration::ZERO;
        for _ in 0..ROUNDS {
            let before = self.api.writes;
            let busy = self.round()?;
            if busy || self.api.writes != before {
                idle = Duration::ZERO;
                continue;
            }
            if idle >= IDLE {
                self.at_rest().map_err(|law| self.broken(law))?;
                return Ok(Told {
                    acts: self.act,
                    writes: self.api.writes,
                    marks: self.evidence.marks,
                });
            }
            clock::advance(PAUSE);
            idle += PAUSE;
        }
        Err(self.broken("it never comes to rest".to_owned()))
    }

    fn heal(&mut self) {
        self.evidence.say(|| "the faults end".to_owned());
        self.evidence.loss = 0;
        let leads = self.api.term;
        self.leaders.retain(|leader| leader.term == leads);
        if self.leaders.is_empty() {
            self.lead();
        }
        self.api.policy = self.api.term;
        for chosen in 0..self.machines.len() {
            let (machine, agent) = (&mut self.machines[chosen], &mut self.agents[chosen]);
            if machine.hidden > 0 {
                machine.hidden = 0;
                agent.changes_kernel();
            }
            machine.on = true;
            agent.running = true;
            agent.connected = true;
            agent.wake_all(machine);
            let node = machine.name.clone();
            self.taint(&node, false);
        }
    }

    /// Everybody does what there is to do. True where anybody did, or is not done.
    fn round(&mut self) -> Result<bool, Broken> {
        let mut busy = false;
        for chosen in 0..self.agents.len() {
            busy |= self.agent_round(chosen)?;
        }
        for chosen in 0..self.leaders.len() {
            busy |= self.leader_round(chosen)?;
        }
        Ok(busy)
    }

    fn agent_round(&mut self, chosen: usize) -> Result<bool, Broken> {
        let mut busy = false;
        for _ in 0..ACTS {
            let (agent, machine) = (&mut self.agents[chosen], &mut self.machines[chosen]);
            agent.list(&self.api);
            agent.open_gate(machine);
            while agent.deliver_domain(&self.api) || agent.deliver_segment(&self.api) {}
            for uuid in agent.woken() {
                agent.pass(&mut self.api, machine, &uuid, &mut self.evidence);
            }
            for uuid in agent.under_way() {
                agent.step(&self.api, machine, &uuid, &mut self.evidence);
            }
            let acts = agent.is_busy();
            if !acts {
                agent.report_node(&mut self.api, &self.scene, machine);
                agent.renew(&mut self.api);
                return Ok(busy);
            }
            busy = true;
            self.look()?;
        }
        let node = &self.agents[chosen].node;
        Err(self.broken(format!("agent {node} never comes to rest")))
    }

    fn leader_round(&mut self, chosen: usize) -> Result<bool, Broken> {
        let mut busy = false;
        for act in 0..ACTS {
            let leader = &mut self.leaders[chosen];
            leader.read(&self.api);
            for watched in Watched::ALL {
                while leader.deliver(&self.api, watched) {
                    busy |= watched != Watched::Leases;
                }
            }
            let mut told = leader.start(act);
            if leader.under_way() > 0 {
                let went = leader.go_on(&mut self.api, 0, Fate::Answered);
                told = told.or(went);
                busy = true;
            } else if !leader.has_work() {
                return Ok(busy);
            }
            if let Some(told) = told {
                self.evidence.say(|| told);
            }
            self.look()?;
        }
        Err(self.broken("the leader never comes to rest".to_owned()))
    }

    /// What is so once nothing happens any more.
    fn at_rest(&self) -> Result<(), String> {
        let mut bound = BTreeSet::new();
        for instance in self.api.all::<Instance>() {
            let name = instance.name_any();
            if instance.metadata.deletion_timestamp.is_some() {
                return Err(format!("{name} is deleted, and stays"));
            }
            let status = instance.status.as_ref();
            match status.and_then(|s| s.node_name.as_deref()) {
                Some(node) => {
                    self.runs(instance, node)?;
                    bound.insert(status.and_then(|s| s.uuid.clone()).unwrap_or_default());
                }
                None => self.waits_rightly(instance)?,
            }
        }
        self.nothing_left(&bound)?;
        self.claims_are_what_is_bound()
    }

    /// A bound Instance is as declared.
    fn runs(&self, instance: &Instance, node: &str) -> Result<(), String> {
        let name = instance.name_any();
        let status = instance.status.clone().unwrap_or_default();
        // One that was off when it was to be suspended has nothing to come back to, and says so.
        let nothing_saved = instance.spec.power() == Power::Suspended
            && status.power_state == Some(PowerState::Shutoff);
        if !is_true(&status.conditions, types::READY) && !nothing_saved {
            let ready = find(&status.conditions, types::READY);
            let why = ready.map(|c| format!("{}: {}", c.reason, c.message));
            return Err(format!("{name} is not Ready at rest: {why:?}"));
        }
        let uuid = status.uuid.unwrap_or_default();
        let machine = self.machines.iter().find(|m| m.name == node);
        let here = machine.and_then(|machine| machine.here.get(&uuid));
        let state = here.and_then(|here| Some(here.libvirt.as_ref()?.state));
        let agrees = match instance.spec.power() {
            Power::On => state == Some(LibvirtState::Running),
            Power::Paused => state == Some(LibvirtState::Paused),
            Power::Off | Power::Suspended => state == Some(LibvirtState::Shutoff),
        };
        if !agrees {
            let power = instance.spec.power();
            return Err(format!(
                "{name} is to be {power:?}, and is {state:?} on {node}"
            ));
        }
        let on = here.is_some_and(Here::is_active);
        if on && !here.is_some_and(Here::is_plugged) {
            return Err(format!("{name} runs without its network"));
        }
        Ok(())
    }

    /// An Instance that is not bound could not be.
    fn waits_rightly(&self, instance: &Instance) -> Result<(), String> {
        let name = instance.name_any();
        let status = instance.status.clone().unwrap_or_default();
        let scheduled = find(&status.conditions, types::SCHEDULED);
        let why = scheduled.map(|c| c.message.clone());
        if scheduled.is_some_and(|c| c.reason == "OrphanExists") {
            return Ok(());
        }
        let held: BTreeSet<&str> = self
            .machines
            .iter()
            .flat_map(|machine| standing(&self.api, machine))
            .flat_map(|domain| &domain.spec.ports)
            .flat_map(|port| &port.ips)
            .map(|address| address.ip.as_str())
            .collect();
        if held.len() >= ADDRESSES {
            return Ok(());
        }
        let group = instance.labels().get(GROUP);
        let fits = self.machines.iter().find(|machine| {
            let taken = laws::taken(&self.api, machine);
            let mut there = standing(&self.api, machine);
            let apart = group.is_none()
                || !there.any(|domain| {
                    let other = self.api.instance(&domain.spec.instance.uid);
                    other.is_some_and(|other| other.labels().get(GROUP) == group)
                });
            machine.memory >= taken + INSTANCE_MEMORY && apart
        });
        match fits {
            Some(machine) => {
                let node = &machine.name;
                Err(format!(
                    "{name} waits ({why:?}), though {node} could have it"
                ))
            }
            None => Ok(()),
        }
    }

    /// Nothing is on any node but what is bound there, or an orphan for good.
    fn nothing_left(&self, bound: &BTreeSet<String>) -> Result<(), String> {
        for machine in &self.machines {
            let orphans = self.orphans(&machine.name);
            let kept = |uuid: &String| bound.contains(uuid) || orphans.contains(uuid);
            if let Some(uuid) = machine.here.keys().find(|uuid| !kept(uuid)) {
                return Err(format!("{uuid} is left on {}", machine.name));
            }
        }
        for domain in self.api.all::<Domain>() {
            let uuid = &domain.spec.uuid;
            if !bound.contains(uuid) || domain.spec.disposition != Disposition::Run {
                let name = &domain.spec.instance.name;
                return Err(format!(
                    "a Domain of {name} is left in {:?}",
                    domain.namespace()
                ));
            }
        }
        let namespaces: BTreeSet<_> = self.api.all::<Domain>().map(|d| d.namespace()).collect();
        let left = self
            .api
            .segments
            .iter()
            .find(|s| !namespaces.contains(&s.namespace()));
        match left {
            Some(segment) => Err(format!("a Segment is left in {:?}", segment.namespace())),
            None => Ok(()),
        }
    }

    /// What a node holds of Instances that were removed by hand, their Domains too: that stays.
    fn orphans(&self, node: &str) -> BTreeSet<String> {
        let hypervisor = self.api.get::<Hypervisor>("", node);
        let status = hypervisor.and_then(|h| h.status.clone());
        let orphans = status.map(|s| s.orphans).unwrap_or_default();
        let forced = orphans
            .into_iter()
            .filter(|o| self.evidence.forced.contains_key(&o.uid));
        forced.map(|o| o.uuid).collect()
    }

    /// What the leader has claimed is what is bound or held, no more and no less.
    fn claims_are_what_is_bound(&self) -> Result<(), String> {
        let Some(leader) = self.leaders.first() else {
            return Ok(());
        };
        let known = leader.known().borrow();
        for machine in &self.machines {
            let on = |instance: &&Arc<Instance>| {
                let status = instance.status.as_ref();
                status.is_some_and(|s| s.node_name.as_deref() == Some(&*machine.name))
            };
            let bound =
                self.api.all::<Instance>().filter(on).count() + self.orphans(&machine.name).len();
            let memory = INSTANCE_MEMORY * u64::try_from(bound).unwrap_or_default();
            let used = known.cluster.used(&machine.name).memory;
            if used != memory {
                return Err(format!(
                    "{used} bytes are claimed on {}, and {memory} are bound",
                    names::node_namespace(&machine.name)
                ));
            }
        }
        Ok(())
    }
}
