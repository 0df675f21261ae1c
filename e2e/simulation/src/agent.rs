//! One process of the agent: what the API server told it, the steps that are under way for each
//! instance, and what it reports. Its decisions are the product's own; the order around them is
//! the product's `runner`, one step at a time.

use crate::api::Api;
use crate::clock;
use crate::evidence::Evidence;
use crate::node::Machine;
use crate::scene::{CLUSTER, NODE_DISK, Scene};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kilonova_agent_core::backoff::Backoff;
use kilonova_agent_core::desired::{Desired, NodeSettings, Observed, Paths};
use kilonova_agent_core::hypervisor::{NodeReport, differs};
use kilonova_agent_core::observed::NodeFacts;
use kilonova_agent_core::plan::{self, Plan};
use kilonova_agent_core::report::{self, Progress};
use kilonova_agent_core::steps::Step;
use kilonova_agent_core::xml::CacheMode;
use kilonova_crds::names::{self, AGENT_LEASE};
use kilonova_crds::node::SegmentSpec;
use kilonova_crds::v1alpha1::{Power, VirtualizationType};
use kilonova_crds::{Domain, Hypervisor};
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// How long after a failure it tries again.
const RETRY: Duration = Duration::from_secs(1);

static SETTINGS: LazyLock<NodeSettings> = LazyLock::new(|| NodeSettings {
    cluster_id: CLUSTER.to_owned(),
    virtualization: VirtualizationType::Qemu,
    machine_types: vec!["pc-q35-7.2".to_owned()],
    machine: "pc-q35-7.2".to_owned(),
    cache: CacheMode::None,
});

/// Steps that are under way.
struct Job {
    domain: Option<Arc<Domain>>,
    steps: VecDeque<Step>,
}

/// How far the process has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It was not told anything.
    #[default]
    New,
    /// It knows what should be here.
    Listed,
    /// What is forfeited has no network any more: the rest may begin.
    Open,
    /// The server was told of the node.
    Told,
}

/// What does not outlive the process.
#[derive(Default)]
struct Memory {
    stage: Stage,
    /// What the node reports of itself may have changed.
    census: bool,
    domains: BTreeMap<String, Arc<Domain>>,
    segments: BTreeMap<String, SegmentSpec>,
    domains_seen: usize,
    segments_seen: usize,
    jobs: BTreeMap<String, Job>,
    woken: BTreeSet<String>,
    later: Vec<(Duration, String)>,
    restarts: BTreeMap<String, Backoff>,
}

/// One process, and whether it runs at all.
pub struct Agent {
    /// The node's name.
    pub node: String,
    /// Whether the process runs.
    pub running: bool,
    /// Whether it reaches the API server.
    pub connected: bool,
    namespace: String,
    renewals: i64,
    /// What the node's kernel says of itself: a change that is no change of room.
    pub kernel: String,
    memory: Memory,
}

impl Agent {
    /// A process that knows nothing yet.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            running: true,
            connected: true,
            namespace: names::node_namespace(node),
            renewals: 0,
            kernel: "6.12".to_owned(),
            memory: Memory::default(),
        }
    }

    /// It is killed.
    pub fn crash(&mut self) {
        self.running = false;
        self.memory = Memory::default();
    }

    /// Whether it can reach the server.
    #[must_use]
    pub fn talks(&self) -> bool {
        self.running && self.connected
    }

    /// Whether it knows what should be here, and carries that out.
    #[must_use]
    pub fn works(&self) -> bool {
        self.running && self.memory.stage >= Stage::Open
    }

    /// Whether the server was told of the node.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.memory.stage == Stage::Told
    }

    /// Whether anything is under way, or to be looked at now.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let due = |(at, _): &(Duration, String)| *at <= clock::passed();
        !self.memory.jobs.is_empty()
            || !self.memory.woken.is_empty()
            || self.memory.later.iter().any(due)
    }

    /// The list at the start.
    pub fn list(&mut self, api: &Api) {
        if self.memory.stage >= Stage::Listed || !self.talks() {
            return;
        }
        let memory = &mut self.memory;
        for domain in api.all::<Domain>() {
            if domain.namespace().as_deref() == Some(&*self.namespace) {
                let uuid = domain.spec.uuid.clone();
                memory.domains.insert(uuid, Arc::clone(domain));
            }
        }
        for segment in api.segments.iter() {
            if segment.namespace().as_deref() == Some(&*self.namespace) {
                let name = segment.name_any();
                memory.segments.insert(name, segment.spec.clone());
            }
        }
        memory.domains_seen = api.domains.log.len();
        memory.segments_seen = api.segments.log.len();
        memory.stage = Stage::Listed;
    }

    /// The watch of Domains delivers its next entry; true where there was one.
    pub fn deliver_domain(&mut self, api: &Api) -> bool {
        if !self.talks() || self.memory.stage < Stage::Listed {
            return false;
        }
        let memory = &mut self.memory;
        while let Some(event) = api.domains.log.get(memory.domains_seen) {
            memory.domains_seen += 1;
            if event.object.namespace().as_deref() != Some(&*self.namespace) {
                continue;
            }
            let uuid = event.object.spec.uuid.clone();
            if event.deleted {
                let known = memory.domains.get(&uuid);
                if known.is_some_and(|known| known.uid() == event.object.uid()) {
                    memory.domains.remove(&uuid);
                }
                memory.census = true;
            } else {
                saw(memory, Arc::clone(&event.object));
                memory.census = true;
            }
            memory.woken.insert(uuid);
            return true;
        }
        false
    }

    /// The watch of Segments delivers its next entry; true where there was one.
    pub fn deliver_segment(&mut self, api: &Api) -> bool {
        if !self.talks() || self.memory.stage < Stage::Listed {
            return false;
        }
        let memory = &mut self.memory;
        while let Some(event) = api.segments.log.get(memory.segments_seen) {
            memory.segments_seen += 1;
            if event.object.namespace().as_deref() != Some(&*self.namespace) {
                continue;
            }
            let name = event.object.name_any();
            if event.deleted {
                memory.segments.remove(&name);
            } else {
                memory.segments.insert(name, event.object.spec.clone());
                memory.woken.extend(memory.domains.keys().cloned());
            }
            return true;
        }
        false
    }

    /// Takes the network from what is forfeited, then lets the rest begin.
    pub fn open_gate(&mut self, machine: &mut Machine) {
        if !self.running || self.memory.stage != Stage::Listed {
            return;
        }
        let forfeited = self.memory.domains.values().filter(|d| d.spec.forfeited);
        for domain in forfeited.cloned().collect::<Vec<_>>() {
            let uuid = domain.spec.uuid.clone();
            let desired = self.desired(&domain);
            let observed = machine.observe(&uuid, None);
            let plan = plan::plan(&SETTINGS, &desired, &observed);
            let unplugs = |s: &&Step| matches!(s, Step::Unplug { .. } | Step::LeaveSegment(_));
            for step in plan.steps.iter().filter(unplugs) {
                // What cannot be done now is done by its own pass.
                let _ = machine.carry_out(&uuid, step);
            }
        }
        self.memory.stage = Stage::Open;
        self.memory.census = true;
        self.wake_all(machine);
    }

    /// Everything that is, or should be, here is looked at.
    pub fn wake_all(&mut self, machine: &Machine) {
        let memory = &mut self.memory;
        memory.woken.extend(memory.domains.keys().cloned());
        memory.woken.extend(machine.here.keys().cloned());
    }

    /// What the node says of itself changed.
    pub fn changes_kernel(&mut self) {
        self.kernel.push('+');
        self.memory.census = true;
    }

    /// Something of that instance happened on the node.
    pub fn wake(&mut self, uuid: &str) {
        if self.running {
            self.memory.woken.insert(uuid.to_owned());
        }
    }

    /// Reports the node where something differs.
    pub fn report_node(&mut self, api: &mut Api, scene: &Scene, machine: &Machine) {
        let nothing_new = self.is_known() && !self.memory.census;
        if !self.talks() || self.memory.stage < Stage::Open || nothing_new {
            return;
        }
        let found = api.get::<Hypervisor>("", &self.node);
        let hypervisor = match found {
            Some(hypervisor) => (*hypervisor).clone(),
            None => match api.create(scene.hypervisor(&self.node)) {
                Ok(made) => made,
                Err(_) => return,
            },
        };
        let previous = hypervisor.status.as_ref();
        let status = self.report(machine, &hypervisor).status(previous, &time());
        if differs(previous, &status) {
            // Nobody else writes it in between.
            let _ = api.status(&hypervisor, |h| h.status = Some(status));
        }
        self.memory.stage = Stage::Told;
        self.memory.census = false;
    }

    fn report<'a>(&'a self, machine: &Machine, hypervisor: &Hypervisor) -> OwnedReport<'a> {
        OwnedReport {
            agent: self,
            facts: NodeFacts {
                vcpus: 16,
                memory_bytes: machine.memory,
                cpu_model: "EPYC".to_owned(),
                cpu_vendor: None,
                architecture: "x86_64".to_owned(),
                machine_types: SETTINGS.machine_types.clone(),
                kvm_offered: false,
                libvirt_version: "9.0.0".to_owned(),
                qemu_version: "7.2.0".to_owned(),
                hostname: self.node.clone(),
            },
            domains: machine
                .here
                .values()
                .filter_map(|h| h.libvirt.clone())
                .collect(),
            files: machine
                .here
                .values()
                .filter_map(|h| h.files.clone())
                .collect(),
            declared: self.memory.domains.keys().cloned().collect(),
            generation: hypervisor.metadata.generation,
        }
    }

    /// Whether something that the node reports of itself may have changed.
    #[must_use]
    pub fn census_due(&self) -> bool {
        self.memory.census
    }

    /// Renews the Lease, once the node was reported.
    pub fn renew(&mut self, api: &mut Api) {
        if !self.talks() || !self.is_known() {
            return;
        }
        self.renewals += 1;
        let renewal = clock::wall() + k8s_openapi::jiff::SignedDuration::from_micros(self.renewals);
        let mut lease = Lease::default();
        lease.metadata.name = Some(AGENT_LEASE.to_owned());
        lease.metadata.namespace = Some(self.namespace.clone());
        lease.spec = Some(LeaseSpec {
            renew_time: Some(MicroTime(renewal)),
            ..LeaseSpec::default()
        });
        if api.get::<Lease>(&self.namespace, AGENT_LEASE).is_some() {
            let _ = api.replace(lease);
        } else {
            let _ = api.create(lease);
        }
    }

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

    fn desired(&self, domain: &Domain) -> Desired {
        let paths = Paths {
            root_disk: "/disk".to_owned(),
            config_drive: "/config".to_owned(),
            console_log: "/console".to_owned(),
        };
        Desired::new(CLUSTER, domain, &self.memory.segments, paths)
    }
}

/// What is older than what is known is not looked at.
fn saw(memory: &mut Memory, domain: Arc<Domain>) {
    let uuid = domain.spec.uuid.clone();
    let newer = memory
        .domains
        .get(&uuid)
        .is_none_or(|old| old.uid() != domain.uid() || version(old) <= version(&domain));
    if newer {
        memory.domains.insert(uuid, domain);
    }
}

fn version(domain: &Domain) -> u64 {
    let version = domain.metadata.resource_version.as_deref();
    version.and_then(|v| v.parse().ok()).unwrap_or_default()
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

fn time() -> Time {
    Time(clock::wall())
}

/// What a [`NodeReport`] borrows.
struct OwnedReport<'a> {
    agent: &'a Agent,
    facts: NodeFacts,
    domains: Vec<kilonova_agent_core::observed::LibvirtDomain>,
    files: Vec<kilonova_agent_core::record::InstanceFiles>,
    declared: BTreeSet<String>,
    generation: Option<i64>,
}

impl OwnedReport<'_> {
    fn status(
        &self,
        previous: Option<&kilonova_crds::v1alpha1::HypervisorStatus>,
        now: &Time,
    ) -> kilonova_crds::v1alpha1::HypervisorStatus {
        let report = NodeReport {
            cluster_id: CLUSTER,
            facts: Some(&self.facts),
            libvirt_trouble: None,
            virtualization: Some(SETTINGS.virtualization),
            domains: &self.domains,
            files: &self.files,
            declared: &self.declared,
            nics: &[],
            disk_total: NODE_DISK,
            disk_foreign: 0,
            share: None,
            kernel: &self.agent.kernel,
            agent: "0",
            generation: self.generation,
        };
        report.status(previous, now)
    }
}
