//! What holds under any history.

use super::*;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

const NODES: [&str; 3] = ["n0", "n1", "n2"];
const INSTANCES: usize = 14;

#[derive(Clone, Debug)]
enum Op {
    /// Decide.
    Bind(usize),
    /// The write of the decision succeeds, and is seen.
    Confirm(usize),
    /// The write fails.
    Undo(usize),
    /// A watch delivers an older state.
    Late(usize),
    /// A Domain is about to be made.
    Dispatch(usize),
    /// It is known whether it was.
    EndDispatch(usize),
    /// The dispatcher made the Domain.
    MakeDomain(usize),
    /// The agent purged it, and the Domain is deleted.
    DropDomain(usize),
    /// The Instance's finalizer is off, and it is gone.
    Gone(usize),
    /// A host is cordoned, or not.
    Cordon(usize, bool),
}

fn op() -> impl Strategy<Value = Op> {
    let i = 0..INSTANCES;
    prop_oneof![
        5 => i.clone().prop_map(Op::Bind),
        4 => i.clone().prop_map(Op::Confirm),
        2 => i.clone().prop_map(Op::Undo),
        2 => i.clone().prop_map(Op::Late),
        3 => i.clone().prop_map(Op::Dispatch),
        3 => i.clone().prop_map(Op::EndDispatch),
        3 => i.clone().prop_map(Op::MakeDomain),
        2 => i.clone().prop_map(Op::DropDomain),
        2 => i.prop_map(Op::Gone),
        1 => (0..NODES.len(), any::<bool>()).prop_map(|(n, c)| Op::Cordon(n, c)),
    ]
}

/// What the API has, and what is decided and not written yet.
struct Api {
    objects: Objects,
    cordoned: [bool; NODES.len()],
    instances: HashMap<usize, Instance>,
    pending: HashMap<usize, Binding>,
    dispatched: HashMap<usize, (String, Domain)>,
    domains: HashMap<usize, (String, Domain)>,
}

/// Some ask for a fixed address, more than one for the same; some must be apart.
fn make(i: usize) -> Instance {
    let mut eth0 = json!({"name": "eth0", "network": "blue"});
    if i.is_multiple_of(3) {
        eth0["ips"] = json!([format!("10.0.0.{}", 2 + i % 4)]);
    }
    let mut spec = json!({"interfaces": [eth0]});
    if i.is_multiple_of(4) {
        let term = json!([{"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}]);
        spec["affinity"] = json!({"instanceAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}});
    }
    labelled(
        instance(&format!("i{i}"), spec),
        json!({"app": if i.is_multiple_of(2) { "web" } else { "db" }}),
    )
}

impl Api {
    fn new() -> Self {
        let mut objects = Objects::new();
        objects.networks = vec![network("blue", "10.0.0.0/28")];
        Self {
            objects,
            cordoned: [false; NODES.len()],
            instances: (0..INSTANCES).map(|i| (i, make(i))).collect(),
            pending: HashMap::new(),
            dispatched: HashMap::new(),
            domains: HashMap::new(),
        }
    }

    fn observe_host(&self, cluster: &mut Cluster, n: usize) {
        let mut hypervisor = hypervisor(NODES[n], 4, 3, 100);
        hypervisor.spec.unschedulable = Some(self.cordoned[n]);
        cluster.observe_hypervisor(&hypervisor, None, true);
    }

    /// A new world, told of everything once.
    fn rebuild(&self) -> Cluster {
        let mut cluster = Cluster::new(Settings::default());
        for (node, domain) in self.domains.values() {
            cluster.observe_domain(node, domain);
        }
        for (node, domain) in self.dispatched.values() {
            cluster.dispatch(node, &domain.spec);
        }
        for instance in self.instances.values() {
            cluster.observe_instance(instance);
        }
        for (i, binding) in &self.pending {
            if let Some(instance) = self.instances.get(i) {
                cluster.assume(instance, binding);
            }
        }
        for n in 0..NODES.len() {
            self.observe_host(&mut cluster, n);
        }
        cluster.observe_network(&self.objects.networks[0]);
        cluster
    }

    fn apply(&mut self, cluster: &mut Cluster, op: &Op) {
        match op {
            Op::Bind(i) => {
                // As the binary does: only what is unbound, undecided and has no Domain anywhere.
                let Some(instance) = self.instances.get(i) else {
                    return;
                };
                let is_bound = instance.status.is_some() || self.pending.contains_key(i);
                if !is_bound
                    && !self.domains.contains_key(i)
                    && let Ok(binding) = cluster.bind(&self.objects.inputs(instance))
                {
                    self.pending.insert(*i, binding);
                }
            }
            Op::Confirm(i) => {
                if let Some(binding) = self.pending.remove(i) {
                    let instance = self.instances.get_mut(i).unwrap();
                    *instance = bound(instance, &binding);
                    cluster.observe_instance(instance);
                }
            }
            Op::Undo(i) => {
                if self.pending.remove(i).is_some() {
                    cluster.undo(&format!("uid-i{i}"));
                }
            }
            Op::Late(i) => {
                if self.pending.contains_key(i) {
                    cluster.observe_instance(&make(*i));
                }
            }
            Op::Dispatch(i) => {
                if !self.domains.contains_key(i)
                    && let Some((node, made)) = self.compiled(*i)
                {
                    cluster.dispatch(&node, &made.spec);
                    self.dispatched.insert(*i, (node, made));
                }
            }
            Op::EndDispatch(i) => {
                self.dispatched.remove(i);
                cluster.end_dispatch(&format!("uid-i{i}"));
            }
            Op::MakeDomain(i) => {
                if let Some((node, made)) = self.compiled(*i) {
                    cluster.observe_domain(&node, &made);
                    self.domains.insert(*i, (node, made));
                }
            }
            Op::DropDomain(i) => {
                if let Some((node, _)) = self.domains.remove(i) {
                    cluster.forget_domain(&node, &format!("uid-i{i}"));
                }
            }
            Op::Gone(i) => {
                self.pending.remove(i);
                if self.instances.remove(i).is_some() {
                    cluster.forget_instance(&format!("uid-i{i}"));
                }
            }
            Op::Cordon(n, cordoned) => {
                self.cordoned[*n] = *cordoned;
                self.observe_host(cluster, *n);
            }
        }
    }

    /// The node and the Domain of an Instance that is bound.
    fn compiled(&self, i: usize) -> Option<(String, Domain)> {
        let instance = self.instances.get(&i)?;
        let node = instance.status.as_ref()?.node_name.clone()?;
        Some((node, domain(instance, Disposition::Run, None)))
    }

    /// Every binding that is decided, with its instance.
    fn bindings(&self) -> Vec<(usize, Binding)> {
        let written = self.instances.iter();
        let written = written.filter_map(|(i, o)| Some((*i, Binding::of(o.status.as_ref()?)?)));
        let pending = self.pending.iter().map(|(i, b)| (*i, b.clone()));
        written.chain(pending).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Through any interleaving of decisions, lost and late writes, Domains and deletions: no host
    /// is overcommitted, no address or MAC has two holders, nobody is where he must not be, and the
    /// world equals one that is told of everything at once.
    #[test]
    fn never_overcommits_never_doubles_and_equals_its_rebuild(ops in prop::collection::vec(op(), 1..80)) {
        let mut api = Api::new();
        let mut cluster = api.rebuild();
        for op in ops {
            api.apply(&mut cluster, &op);
            let rebuilt = api.rebuild();
            for node in NODES {
                let allocatable = cluster.host(node).unwrap().allocatable;
                prop_assert!(cluster.used(node).within(allocatable), "{} after {:?}", node, op);
                prop_assert_eq!(cluster.used(node), rebuilt.used(node));
                prop_assert_eq!(cluster.instances_on(node), rebuilt.instances_on(node));
            }
            prop_assert_eq!(cluster.network_in_use("net-blue"), rebuilt.network_in_use("net-blue"));
            let mut seen = HashSet::new();
            let bindings = api.bindings();
            for (i, binding) in &bindings {
                let interface = &binding.interfaces[0];
                prop_assert!(seen.insert(interface.mac.clone()), "{} twice", interface.mac);
                prop_assert!(seen.insert(interface.ips[0].ip.clone()), "{} twice", interface.ips[0].ip);
                // Who must be apart from `web` has no other `web` beside it.
                let beside = bindings.iter().filter(|(j, b)| j % 2 == 0 && j != i && b.node == binding.node);
                prop_assert!(i % 4 != 0 || beside.count() == 0, "i{} has company", i);
            }
        }
    }
}
