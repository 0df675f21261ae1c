//! From any state, the plan and the agents together come to rest, and at rest it is as it should be.
//!
//! A small world stands for the API and the agents: it carries the plan's actions out, and an agent
//! reports what a Domain asks of it.

use super::*;
use crate::binding::{Binding, taken_back};
use kilonova_crds::v1alpha1::InstanceStatus;
use proptest::prelude::*;

const NODES: [&str; 2] = ["n1", "n2"];
/// More steps than any way has; a plan that goes in circles needs more.
const ENOUGH: usize = 60;

#[derive(Clone, Debug)]
struct World {
    instance: Option<Instance>,
    domains: BTreeMap<&'static str, Domain>,
    /// On these nodes there is a libvirt domain, with its disk.
    disks: BTreeMap<&'static str, bool>,
    nodes: BTreeMap<&'static str, NodeFacts>,
    /// Nodes that refuse what has no disk yet.
    refuses: &'static str,
    now: i64,
    /// Disks that were purged while the Instance was there and not being deleted.
    lost: Vec<&'static str>,
}

fn key(node: &str) -> &'static str {
    NODES.into_iter().find(|n| *n == node).unwrap()
}

fn binding_to(node: &str) -> Binding {
    Binding::of(bound("web", node, json!({})).status.as_ref().unwrap()).unwrap()
}

impl World {
    fn plan(&self) -> Action {
        let facts = |node: &str| self.nodes[node];
        let mut action = Facts {
            instance: self.instance.as_ref(),
            namespace_uid: "ns",
            domains: self
                .domains
                .iter()
                .map(|(node, domain)| DomainAt { node, domain })
                .collect(),
            orphans: Vec::new(),
            orphans_known: true,
            fault: None,
            node: &facts,
            now: at(self.now),
            retention: Some(SignedDuration::from_secs(50)),
        };
        // A libvirt domain that no Domain names is an orphan.
        let held = orphan("uid-web", "ns");
        let orphans = self.disks.keys().filter(|n| !self.domains.contains_key(*n));
        let orphans = orphans.filter(|n| self.nodes[*n].ready);
        action.orphans = orphans
            .map(|node| OrphanAt {
                node,
                orphan: &held,
            })
            .collect();
        plan(&action)
    }

    fn set_status(&mut self, change: impl FnOnce(&InstanceStatus) -> InstanceStatus) {
        let instance = self.instance.as_mut().unwrap();
        let old = instance.status.clone().unwrap_or_default();
        instance.status = Some(change(&old));
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Nothing | Action::Wait(_) => {}
            Action::AddFinalizer => {
                let finalizers = vec![kilonova_crds::names::INSTANCE_FINALIZER.to_owned()];
                self.instance.as_mut().unwrap().metadata.finalizers = Some(finalizers);
            }
            Action::Bind => {
                let fits = |n: &&&str| self.nodes[**n].ready && **n != self.refuses;
                if let Some(node) = NODES.iter().find(fits) {
                    self.set_status(|s| binding_to(node).to_status(s));
                }
            }
            Action::AdoptDomain { node } | Action::AdoptOrphan { node, .. } => {
                let mut binding = binding_to(&node);
                let has_disk = self.disks.contains_key(key(&node));
                binding.image.disk_created = has_disk.then_some(true);
                self.set_status(|s| binding.to_status(s));
            }
            Action::TakeBack(_) => self.set_status(taken_back),
            Action::CreateDomain(write) => {
                let node = key(&write.node);
                assert!(self.nodes[node].namespace && !self.domains.contains_key(node));
                let mut domain = Domain::new("uid-web", *write.spec);
                domain.metadata.generation = Some(1);
                self.domains.insert(node, domain);
            }
            Action::UpdateDomain(write) => {
                let domain = self.domains.get_mut(key(&write.node)).unwrap();
                assert_ne!(
                    (&domain.spec, abandoned_at(domain)),
                    (&*write.spec, write.abandoned_at)
                );
                if domain.spec != *write.spec {
                    *domain.metadata.generation.as_mut().unwrap() += 1;
                }
                domain.spec = *write.spec;
                domain.metadata.annotations = write.abandoned_at.map(|stamp| {
                    BTreeMap::from([(ABANDONED_ANNOTATION.to_owned(), stamp.to_string())])
                });
            }
            Action::DeleteDomain { node } => {
                let domain = self.domains.remove(key(&node)).unwrap();
                assert!(is_purged(&domain));
            }
            Action::RemoveFinalizer => self.instance = None,
        }
    }

    /// Each agent that answers does what its Domain says; an Instance's status takes the disk over.
    fn agents(&mut self) {
        let lives = self
            .instance
            .as_ref()
            .is_some_and(|i| i.metadata.deletion_timestamp.is_none());
        for (node, domain) in &mut self.domains {
            if !self.nodes[node].ready {
                continue;
            }
            let outcome = match domain.spec.disposition {
                Disposition::Run if domain.spec.forfeited => None,
                Disposition::Run if self.disks.contains_key(node) => Some(Outcome::Running),
                Disposition::Run if *node == self.refuses => Some(Outcome::Refused),
                Disposition::Run if domain.spec.root_disk == RootDisk::Existing => None,
                Disposition::Run => {
                    self.disks.insert(node, true);
                    Some(Outcome::Running)
                }
                Disposition::Release => Some(Outcome::Released),
                Disposition::Purge => {
                    if self.disks.remove(node).is_some() && lives {
                        self.lost.push(node);
                    }
                    Some(Outcome::Purged)
                }
            };
            domain.status = Some(DomainStatus {
                observed_generation: domain.metadata.generation.unwrap(),
                outcome,
                disk_created: self.disks.contains_key(node),
                ..DomainStatus::default()
            });
        }
        let Some(status) = self.instance.as_mut().and_then(|i| i.status.as_mut()) else {
            return;
        };
        let node = status.node_name.as_deref().map(key);
        if let Some((node, image)) = node.zip(status.image.as_mut())
            && self.domains.contains_key(node)
            && self.disks.contains_key(node)
        {
            image.disk_created = Some(true);
        }
    }

    /// Runs until nothing changes, or for ever.
    fn settle(&mut self) -> Action {
        for _ in 0..ENOUGH {
            let before = format!("{self:?}");
            let action = self.plan();
            let is_wait = matches!(action, Action::Wait(Pause::Retained { .. }));
            self.carry_out(action.clone());
            self.agents();
            if is_wait {
                self.now += 60;
            } else if before == format!("{self:?}") {
                return action;
            }
        }
        panic!("it does not come to rest: {self:#?}");
    }

    fn running(&self) -> usize {
        let runs = |d: &&Domain| d.spec.disposition == Disposition::Run && !d.spec.forfeited;
        self.domains.values().filter(runs).count()
    }
}

fn a_node() -> impl Strategy<Value = NodeFacts> {
    prop_oneof![4 => Just(READY), 1 => Just(SILENT), 1 => Just(GONE)]
}

fn a_domain() -> impl Strategy<Value = Option<(Disposition, bool, bool)>> {
    let disposition = prop::sample::select(vec![
        Disposition::Run,
        Disposition::Release,
        Disposition::Purge,
    ]);
    prop::option::of((disposition, any::<bool>(), any::<bool>()))
}

prop_compose! {
    fn a_world()(
        nodes in [a_node(), a_node()],
        domains in [a_domain(), a_domain()],
        disks in [any::<bool>(), any::<bool>()],
        bound_to in prop::option::of(0..2usize),
        disk_created: bool,
        deleting: bool,
        gone: bool,
        finalizer: bool,
        refuses in prop::sample::select(vec!["", "n1", "n2"]),
    ) -> World {
        let mut web = match bound_to {
            Some(n) => bound("web", NODES[n], json!({})),
            None => instance("web", json!({})),
        };
        if let Some(image) = web.status.as_mut().and_then(|s| s.image.as_mut()) {
            image.disk_created = disk_created.then_some(true);
        }
        // Without our finalizer a deleted Instance is gone.
        if deleting {
            web = deleted(web);
        } else if !finalizer {
            web.metadata.finalizers = None;
        }
        let mut world = World {
            instance: (!gone).then_some(web),
            domains: BTreeMap::new(),
            disks: BTreeMap::new(),
            nodes: NODES.into_iter().zip(nodes).collect(),
            refuses,
            now: 100,
            lost: Vec::new(),
        };
        for ((node, domain), disk) in NODES.into_iter().zip(domains).zip(disks) {
            if disk {
                world.disks.insert(node, true);
            }
            let Some((disposition, forfeited, stamp)) = domain else {
                continue;
            };
            let mut made = disposed(&bound("web", node, json!({})), disposition);
            made.spec.forfeited = forfeited && disposition != Disposition::Run;
            world.domains.insert(node, if stamp { stamped(made, 10) } else { made });
        }
        world
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_world_comes_to_rest_as_it_should_be(start in a_world()) {
        let mut world = start.clone();
        let last = world.settle();
        let at_rest = matches!(last, Action::Nothing | Action::Wait(_) | Action::Bind);
        prop_assert!(at_rest, "rests with {:?}", last);
        prop_assert!(world.running() <= 1, "two run: {:#?}", world);

        // No disk of an Instance that lives was purged, unless its Purge was ordered before.
        for node in &world.lost {
            let ordered = |d: &Domain| d.spec.disposition == Disposition::Purge;
            prop_assert!(start.domains.get(node).is_some_and(ordered), "{} lost its disk", node);
        }

        let all_answer = NODES.iter().all(|n| world.nodes[n].ready);
        let was_deleting = start.instance.as_ref().is_none_or(|i| i.metadata.deletion_timestamp.is_some());
        if all_answer && was_deleting {
            prop_assert!(world.instance.is_none() && world.domains.is_empty(), "{:?} {:#?}", last, world);
            // A disk that nothing of ours names is held, and only a deletion that was seen goes by it.
            let left = world.disks.keys().all(|n| start.instance.is_none() && !start.domains.contains_key(n));
            prop_assert!(left, "{:#?}", world);
        }
        if all_answer && !was_deleting {
            let node = world.instance.as_ref().unwrap().status.as_ref().unwrap().node_name.clone();
            let node = key(node.as_deref().unwrap());
            prop_assert_eq!(world.domains[node].spec.disposition, Disposition::Run);
        }
    }
}
