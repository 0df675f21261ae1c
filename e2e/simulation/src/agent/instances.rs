//! The instances of a node: a look at each, and the steps that follow from it.

use super::{Agent, Job, SETTINGS, Stage, saw, time};
use crate::api::Api;
use crate::clock;
use crate::evidence::Evidence;
use crate::node::Machine;
use crate::scene::CLUSTER;
use kilonova_agent_core::backoff::Backoff;
use kilonova_agent_core::desired::{Desired, Observed, Paths};
use kilonova_agent_core::plan::{self, Plan};
use kilonova_agent_core::report::{self, Progress};
use kilonova_agent_core::steps::Step;
use kilonova_crds::Domain;
use kilonova_crds::v1alpha1::Power;
use kube::ResourceExt;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How long after a failure it tries again.
const RETRY: Duration = Duration::from_secs(1);

impl Agent {
    /// Instances that wait for a look now.
    #[must_use]
    pub fn woken(&mut self) -> Vec<String> {
        let now = clock::passed();
        let memory = &mut self.memory;
        for (_, uuid) in memory.later.extract_if(.., |(at, _)| *at <= now) {
            memory.woken.insert(uuid);
        }
        if memory.stage < Stage::Open {
            return Vec::new();
        }
        let free = |uuid: &&String| !memory.jobs.contains_key(*uuid);
        memory.woken.iter().filter(free).cloned().collect()
    }

    /// Instances for which steps are under way.
    #[must_use]
    pub fn under_way(&self) -> Vec<String> {
        self.memory.jobs.keys().cloned().collect()
    }

    /// Looks at one instance: begins steps, or reports.
    pub fn pass(&mut self, api: &mut Api, machine: &Machine, uuid: &str, evidence: &mut Evidence) {
        if !self.works() || !machine.on {
            return;
        }
        self.memory.woken.remove(uuid);
        let Some(domain) = self.memory.domains.get(uuid).cloned() else {
            self.hold(machine, uuid);
            return;
        };
        let desired = self.desired(&domain);
        let restarts = self.memory.restarts.entry(uuid.to_owned());
        let restarts = restarts.or_insert_with(Backoff::restarts);
        if desired.spec.power == Power::Off {
            restarts.reset();
        }
        let observed = machine.observe(uuid, restarts.wait(clock::passed()));
        let plan = plan::plan(&SETTINGS, &desired, &observed);
        if plan.again {
            restarts.tried(clock::passed());
        }
        if plan.steps.is_empty() {
            self.settle(api, &desired, &observed, plan, evidence);
        } else {
            self.begin(uuid, Some(domain), plan);
        }
    }

    /// An instance that no Domain names: only what it is served with is kept up.
    fn hold(&mut self, machine: &Machine, uuid: &str) {
        let observed = machine.observe(uuid, None);
        let Some(record) = observed.record() else {
            return;
        };
        let plan = plan::held(record, &observed);
        self.begin(uuid, None, plan);
    }

    fn begin(&mut self, uuid: &str, domain: Option<Arc<Domain>>, plan: Plan) {
        let steps = VecDeque::from(plan.steps);
        if !steps.is_empty() {
            let job = Job { domain, steps };
            self.memory.jobs.insert(uuid.to_owned(), job);
        }
    }

    fn settle(
        &mut self,
        api: &mut Api,
        desired: &Desired,
        observed: &Observed,
        plan: Plan,
        evidence: &mut Evidence,
    ) {
        let uuid = desired.spec.uuid.clone();
        let (progress, wake) = match plan.hold {
            None => (Progress::Settled, None),
            Some(hold) => {
                let wake = hold.wake;
                (Progress::Held(hold), wake)
            }
        };
        let wake = if self.tell(api, desired, observed, &progress, evidence) {
            wake
        } else {
            Some(RETRY)
        };
        self.wake_after(wake, uuid);
    }

    fn wake_after(&mut self, wake: Option<Duration>, uuid: String) {
        let at = wake.map(|wake| (clock::passed() + wake, uuid));
        self.memory.later.extend(at);
    }

    /// Writes the Domain's status where it differs. False where that has to be tried again.
    fn tell(
        &mut self,
        api: &mut Api,
        desired: &Desired,
        observed: &Observed,
        progress: &Progress,
        evidence: &mut Evidence,
    ) -> bool {
        let Some(domain) = self.memory.domains.get(&desired.spec.uuid).cloned() else {
            return true;
        };
        if domain.metadata.generation != Some(desired.generation) {
            return false;
        }
        let previous = domain.status.as_ref();
        let status = report::domain_status(previous, desired, observed, progress, &time());
        if !report::differs(previous, &status) {
            return true;
        }
        if !self.connected || evidence.is_lost() {
            return false;
        }
        evidence.say(|| {
            let (node, name) = (&self.node, &desired.spec.instance.name);
            format!(
                "agent {node} tells of {name}: {:?} {:?}",
                status.outcome, status.reason
            )
        });
        let written = api.status(&*domain, |d| d.status = Some(status));
        match written {
            // The answer may be lost: the watch tells it then.
            Ok(written) if !evidence.is_lost() => saw(&mut self.memory, Arc::new(written)),
            Ok(_) => {}
            Err(_) => return false,
        }
        true
    }

    /// The next step of that instance.
    pub fn step(&mut self, api: &Api, machine: &mut Machine, uuid: &str, evidence: &mut Evidence) {
        if !self.running || !machine.on {
            return;
        }
        let Some(job) = self.memory.jobs.get_mut(uuid) else {
            return;
        };
        let Some(step) = job.steps.pop_front() else {
            self.finish(uuid);
            return;
        };
        if changed(&self.memory.domains, uuid, self.memory.jobs.get(uuid)) {
            self.finish(uuid);
            return;
        }
        evidence.say(|| format!("agent {}: {} for {uuid}", self.node, step.name()));
        let done = if step == Step::Confirm {
            self.confirm(api, uuid, evidence)
        } else {
            evidence.before(api, machine, uuid, &step);
            let done = machine.carry_out(uuid, &step);
            if let Err(error) = &done {
                evidence.say(|| format!("agent {}: {error}", self.node));
            }
            evidence.after(machine, uuid, &step, done.is_ok());
            done.is_ok()
        };
        let over = self
            .memory
            .jobs
            .get(uuid)
            .is_none_or(|job| job.steps.is_empty());
        if !done {
            self.memory.jobs.remove(uuid);
            self.wake_after(Some(RETRY), uuid.to_owned());
        } else if over {
            self.finish(uuid);
        }
    }

    fn finish(&mut self, uuid: &str) {
        self.memory.jobs.remove(uuid);
        self.memory.woken.insert(uuid.to_owned());
        self.memory.census = true;
    }

    /// Reads the Domain anew; goes on only where it still says the same.
    fn confirm(&mut self, api: &Api, uuid: &str, evidence: &mut Evidence) -> bool {
        let Some(domain) = self.memory.jobs.get(uuid).and_then(|j| j.domain.clone()) else {
            return true;
        };
        if !self.connected || evidence.is_lost() {
            return false;
        }
        if let Some(now) = api.get::<Domain>(&self.namespace, &domain.name_any()) {
            saw(&mut self.memory, now);
        } else {
            let known = self.memory.domains.get(uuid);
            if known.is_some_and(|known| known.uid() == domain.uid()) {
                self.memory.domains.remove(uuid);
            }
        }
        !changed(&self.memory.domains, uuid, self.memory.jobs.get(uuid))
    }

    pub(super) fn desired(&self, domain: &Domain) -> Desired {
        let paths = Paths {
            root_disk: "/disk".to_owned(),
            config_drive: "/config".to_owned(),
            console_log: "/console".to_owned(),
        };
        Desired::new(CLUSTER, domain, &self.memory.segments, paths)
    }
}

/// Whether something else is asked for than what the steps are for.
fn changed(domains: &BTreeMap<String, Arc<Domain>>, uuid: &str, job: Option<&Job>) -> bool {
    let was = job.and_then(|job| job.domain.as_ref());
    match (was, domains.get(uuid)) {
        (None, None) => false,
        (Some(was), Some(now)) => {
            was.uid() != now.uid() || was.metadata.generation != now.metadata.generation
        }
        (Some(_), None) | (None, Some(_)) => true,
    }
}
