//! One process of the agent: what the API server told it, the steps that are under way for each
//! instance, and what it reports. Its decisions are the product's own; the order around them is
//! the product's `runner`, one step at a time.

mod hypervisor;
mod instances;

use crate::api::Api;
use crate::clock;
use crate::node::Machine;
use crate::scene::CLUSTER;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kilonova_agent_core::backoff::Backoff;
use kilonova_agent_core::desired::NodeSettings;
use kilonova_agent_core::plan;
use kilonova_agent_core::steps::Step;
use kilonova_agent_core::xml::CacheMode;
use kilonova_crds::Domain;
use kilonova_crds::names;
use kilonova_crds::node::SegmentSpec;
use kilonova_crds::v1alpha1::VirtualizationType;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

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

fn time() -> Time {
    Time(clock::wall())
}
