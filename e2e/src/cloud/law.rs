//! What must hold of a whole lab once nothing is under way any more, told from outside: the objects, and what is on the
//! nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use kilonova_crds::{
    Domain, Instance, Segment, condition,
    condition::types::READY,
    names,
    node::{Disposition, DomainPort},
    v1alpha1::{BoundInterface, Power},
};
use kube::{Api, ResourceExt, api::ListParams};

use super::{Cloud, inventory::everything};
use crate::{
    Error, Result,
    lab::Node,
    wait::{GENEROUS, wait_for},
};

/// Waits until the law holds: as many libvirt domains as instances, one owner each, running where they should; one
/// address and MAC each; claims as they were dispatched; no leftover domain, process, tap, netns, link, DHCP pair, lease,
/// directory or partial download on a node; no Domain or Segment of nothing; no Instance that is not Ready.
///
/// # Errors
/// When it does not come to that, with what is against it.
pub async fn lawful(cloud: &Cloud) -> Result<()> {
    wait_for("the law to hold", GENEROUS, || async {
        let against = against_the_law(cloud).await.map_err(|e| e.to_string())?;
        if against.is_empty() {
            Ok(())
        } else {
            Err(against.join("\n"))
        }
    })
    .await
}

/// What is against the law at this moment, a line each.
///
/// # Errors
/// When objects or nodes cannot be read.
pub async fn against_the_law(cloud: &Cloud) -> Result<Vec<String>> {
    let objects = Objects::read(cloud).await?;
    let mut against = Vec::new();
    objects.owners(&mut against);
    objects.unique(&mut against);
    for node in cloud.lab().nodes() {
        if node.options().agent {
            objects.node(node, &mut against).await?;
        }
    }
    Ok(against)
}

struct Objects {
    instances: Vec<Instance>,
    domains: Vec<Domain>,
    segments: Vec<Segment>,
}

impl Objects {
    async fn read(cloud: &Cloud) -> Result<Self> {
        let failed = || Error::api("list what the law is about");
        let all = ListParams::default();
        let instances = Api::all(cloud.client()).list(&all).await;
        let domains = Api::all(cloud.client()).list(&all).await;
        let segments = Api::all(cloud.client()).list(&all).await;
        Ok(Self {
            instances: instances.map_err(failed())?.items,
            domains: domains.map_err(failed())?.items,
            segments: segments.map_err(failed())?.items,
        })
    }

    /// Each Instance is Ready and has one Domain, which is what it is bound to be; each Domain has an Instance.
    fn owners(&self, against: &mut Vec<String>) {
        let mut unowned: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for domain in &self.domains {
            let owner = domain.spec.instance.uid.as_str();
            unowned.entry(owner).or_default().push(domain);
        }
        for instance in &self.instances {
            let uid = instance.uid().unwrap_or_default();
            let domains = unowned.remove(uid.as_str()).unwrap_or_default();
            if let Some(problem) = owner(instance, &domains) {
                against.push(format!("the Instance {}: {problem}", instance.name_any()));
            }
        }
        for domain in unowned.into_values().flatten() {
            let of = &domain.spec.instance;
            against.push(format!("a Domain of {}, which is not there", of.name));
        }
    }

    /// No address and no MAC is two Instances'.
    fn unique(&self, against: &mut Vec<String>) {
        let mut taken = BTreeSet::new();
        for interface in self.instances.iter().filter_map(|i| i.status.as_ref()) {
            for interface in &interface.interfaces {
                let ips = interface.ips.iter();
                let ips = ips.map(|a| format!("{} of {}", a.ip, interface.network_uid));
                for held in ips.chain([interface.mac.clone()]) {
                    if !taken.insert(held.clone()) {
                        against.push(format!("{held} is held twice"));
                    }
                }
            }
        }
    }

    /// What is on a node is what its Domains say.
    async fn node(&self, node: &Node, against: &mut Vec<String>) -> Result<()> {
        let namespace = names::node_namespace(node.name());
        let here = |of: Option<String>| of.as_deref() == Some(&namespace);
        let domains: Vec<_> = (self.domains.iter())
            .filter(|domain| here(domain.namespace()))
            .collect();
        let mut segments = BTreeSet::new();
        for segment in self.segments.iter().filter(|s| here(s.namespace())) {
            segments.insert(segment.name_any());
        }
        let inventory = everything(node).await?;
        let seen = Seen(&inventory);
        let mut differ = |what: &str, wanted: BTreeSet<String>, seen: BTreeSet<String>| {
            if wanted != seen {
                let name = node.name();
                against.push(format!("{what} of {name}: {seen:?}, should be {wanted:?}"));
            }
        };
        let uuids: BTreeSet<_> = domains.iter().map(|d| d.spec.uuid.clone()).collect();
        let on = |domain: &&&Domain| matches!(domain.spec.power, Power::On | Power::Paused);
        let on: Vec<_> = domains.iter().filter(on).copied().collect();
        let ports = |of: &[&Domain]| {
            let ports = of.iter().flat_map(|domain| &domain.spec.ports);
            ports.cloned().collect::<Vec<_>>()
        };
        let named = ports(&domains).into_iter().map(|port| port.segment);
        differ("Segments", named.collect(), segments);
        differ("libvirt domains", uuids.clone(), seen.words("domain"));
        differ("directories", uuids, seen.directories());
        let running = on.iter().map(|domain| domain.spec.uuid.clone());
        differ("QEMU processes", running.collect(), seen.qemu());
        differ("partial downloads", BTreeSet::new(), seen.words("partial"));
        let plugged = ports(&on);
        let netns = |port: &DomainPort| names::segment_netns(&port.segment);
        let served: BTreeSet<_> = plugged.iter().map(netns).collect();
        let transit = |netns: &String| netns.replace("kn-", "kx");
        differ("netns", served.clone(), seen.words("netns"));
        differ(
            "links",
            served.iter().map(transit).collect(),
            seen.links("node", "kx"),
        );
        differ("DHCP servers", served.clone(), seen.dnsmasq(&served));
        let tap = |domain: &&Domain| -> Vec<String> {
            let uuid = &domain.spec.uuid;
            let ports = domain.spec.ports.iter().enumerate();
            let line = |(i, port)| format!("{} {}", netns(port), names::tap(uuid, i));
            ports.map(line).collect()
        };
        differ("taps", on.iter().flat_map(tap).collect(), seen.taps());
        let mac = |port: &DomainPort| format!("{} {}", netns(port), port.mac);
        let macs: BTreeSet<_> = plugged.iter().map(mac).collect();
        let leases = seen.words("lease");
        differ(
            "leases",
            leases.intersection(&macs).cloned().collect(),
            leases,
        );
        differ("DHCP pairs", macs, seen.words("host"));
        Ok(())
    }
}

/// What is wrong with an Instance and its Domains.
fn owner(instance: &Instance, domains: &[&Domain]) -> Option<impl Display> {
    let status = instance.status.clone().unwrap_or_default();
    let current = Some(status.observed_generation) == instance.metadata.generation;
    if !current || !condition::is_true(&status.conditions, READY) {
        return Some(super::summary(instance));
    }
    let node = status.node_name.clone().unwrap_or_default();
    let [domain] = domains else {
        return Some(format!("it has {} Domains", domains.len()));
    };
    let spec = &domain.spec;
    let claimed = status.claim.as_ref();
    let claimed = claimed.map(|c| (c.vcpus, c.memory.bytes().ok(), c.disk.bytes().ok()));
    let dispatched = (spec.vcpus, spec.memory.bytes().ok(), spec.disk.bytes().ok());
    let port = |port: &DomainPort| (port.mac.clone(), port.segment.clone(), port.ips.clone());
    let bound = |i: &BoundInterface| (i.mac.clone(), i.network_uid.clone(), i.ips.clone());
    let same = [
        domain.namespace() == Some(names::node_namespace(&node)),
        status.uuid.as_ref() == Some(&spec.uuid),
        spec.disposition == Disposition::Run,
        claimed == Some(dispatched),
        (spec.ports.iter().map(port)).eq(status.interfaces.iter().map(bound)),
    ];
    let other = same.contains(&false);
    other.then(|| format!("bound as {status:?}, dispatched as {spec:?}"))
}

/// The inventory of a node, by kind.
struct Seen<'a>(&'a BTreeSet<String>);

impl Seen<'_> {
    /// What stands after a word.
    fn words(&self, kind: &str) -> BTreeSet<String> {
        let rest = |line: &String| {
            let rest = line.strip_prefix(kind)?.strip_prefix(' ')?;
            Some(rest.to_owned())
        };
        self.0.iter().filter_map(rest).collect()
    }

    fn links(&self, place: &str, prefix: &str) -> BTreeSet<String> {
        let links = self.words(&format!("link {place}"));
        links
            .into_iter()
            .filter(|l| l.starts_with(prefix))
            .collect()
    }

    /// Each with its netns, wherever it lies.
    fn taps(&self) -> BTreeSet<String> {
        let tap = |link: &String| {
            link.split_whitespace()
                .nth(1)
                .is_some_and(|l| l.starts_with("kt"))
        };
        self.words("link").into_iter().filter(tap).collect()
    }

    fn directories(&self) -> BTreeSet<String> {
        let paths = self.words("file");
        let names = paths.iter().filter_map(|path| {
            let name = path.strip_prefix("/var/lib/kilonova/instances/")?;
            (!name.contains('/')).then(|| name.to_owned())
        });
        names.collect()
    }

    /// The UUIDs that QEMU runs with; one that runs twice counts as another.
    fn qemu(&self) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        for line in self
            .words("process")
            .iter()
            .filter(|l| l.starts_with("qemu-system"))
        {
            let uuid = line
                .split_once("-uuid ")
                .map_or("no uuid", |(_, rest)| rest);
            let uuid = uuid.split(' ').next().unwrap_or_default().to_owned();
            if !seen.insert(uuid.clone()) {
                seen.insert(format!("{uuid} again"));
            }
        }
        seen
    }

    /// The netns that a dnsmasq serves; one of none of them as itself.
    fn dnsmasq(&self, netns: &BTreeSet<String>) -> BTreeSet<String> {
        let lines = self.words("process").into_iter();
        let lines = lines.filter(|l| l.starts_with("dnsmasq"));
        let of = |line: String| {
            netns
                .iter()
                .find(|n| line.contains(*n))
                .cloned()
                .unwrap_or(line)
        };
        lines.map(of).collect()
    }
}
