//! The Domains and Segments of the node namespace, as the API server last said.

use kilonova_crds::node::SegmentSpec;
use kilonova_crds::{Domain, Segment};
use kube::ResourceExt;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// What is known.
#[derive(Debug, Default)]
struct Known {
    /// By the UUID of their libvirt domain.
    domains: BTreeMap<String, Arc<Domain>>,
    segments: BTreeMap<String, Arc<Segment>>,
    domains_listed: bool,
    segments_listed: bool,
}

/// The world; who looks at it may wait for a change.
#[derive(Debug)]
pub struct World {
    known: Mutex<Known>,
    version: watch::Sender<u64>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            version: watch::Sender::new(0),
        }
    }
}

impl World {
    /// The Domain of that UUID.
    pub fn domain(&self, uuid: &str) -> Option<Arc<Domain>> {
        self.known.lock().domains.get(uuid).cloned()
    }

    /// The UUIDs of all Domains.
    pub fn uuids(&self) -> BTreeSet<String> {
        self.known.lock().domains.keys().cloned().collect()
    }

    /// The Segments of that Domain's ports that are there, by name.
    pub fn segments_of(&self, domain: &Domain) -> BTreeMap<String, SegmentSpec> {
        let known = self.known.lock();
        let of = |name: &String| Some((name.clone(), known.segments.get(name)?.spec.clone()));
        let ports = domain.spec.ports.iter();
        ports.filter_map(|port| of(&port.segment)).collect()
    }

    /// The Segment of that name.
    pub fn segment(&self, name: &str) -> Option<Arc<Segment>> {
        self.known.lock().segments.get(name).cloned()
    }

    /// The names of all Segments.
    pub fn segment_names(&self) -> Vec<String> {
        self.known.lock().segments.keys().cloned().collect()
    }

    /// Whether both kinds were listed: nothing is started or removed before.
    pub fn listed(&self) -> bool {
        let known = self.known.lock();
        known.domains_listed && known.segments_listed
    }

    /// Tells of every change from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// A Domain was seen; what is older than what is known is not looked at.
    pub fn saw_domain(&self, mut domain: Domain) -> String {
        domain.metadata.managed_fields = None;
        let uuid = domain.spec.uuid.clone();
        self.change(|known| {
            let newer = known
                .domains
                .get(&uuid)
                .is_none_or(|old| old.uid() != domain.uid() || version(old) <= version(&domain));
            if newer {
                known.domains.insert(uuid.clone(), Arc::new(domain));
            }
        });
        uuid
    }

    /// A Domain is gone.
    pub fn lost_domain(&self, domain: &Domain) -> String {
        let uuid = domain.spec.uuid.clone();
        self.change(|known| {
            if known
                .domains
                .get(&uuid)
                .is_some_and(|d| d.uid() == domain.uid())
            {
                known.domains.remove(&uuid);
            }
        });
        uuid
    }

    /// All Domains, listed.
    pub fn listed_domains(&self, list: Vec<Domain>) {
        self.change(|known| {
            let by_uuid = |domain: Domain| (domain.spec.uuid.clone(), Arc::new(domain));
            known.domains = list.into_iter().map(by_uuid).collect();
            known.domains_listed = true;
        });
    }

    /// A Segment was seen. Gives the UUIDs of the Domains with ports in it.
    pub fn saw_segment(&self, segment: Segment) -> BTreeSet<String> {
        let name = segment.name_any();
        self.change(|known| {
            known.segments.insert(name.clone(), Arc::new(segment));
            of_segment(known, &name)
        })
    }

    /// A Segment is gone: nothing is stopped because of that.
    pub fn lost_segment(&self, segment: &Segment) {
        self.change(|known| known.segments.remove(&segment.name_any()));
    }

    /// All Segments, listed.
    pub fn listed_segments(&self, list: Vec<Segment>) {
        self.change(|known| {
            let by_name = |segment: Segment| (segment.name_any(), Arc::new(segment));
            known.segments = list.into_iter().map(by_name).collect();
            known.segments_listed = true;
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        let result = change(&mut self.known.lock());
        self.version.send_modify(|version| *version += 1);
        result
    }
}

fn of_segment(known: &Known, segment: &str) -> BTreeSet<String> {
    let has = |domain: &Domain| domain.spec.ports.iter().any(|port| port.segment == segment);
    let domains = known.domains.iter().filter(|(_, domain)| has(domain));
    domains.map(|(uuid, _)| uuid.clone()).collect()
}

/// Its resourceVersion; versions of one object can be compared as numbers, since Kubernetes 1.35
/// says so.
fn version(domain: &Domain) -> u64 {
    let version = domain.metadata.resource_version.as_deref();
    version.and_then(|v| v.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kilonova_crds::node::{
        Disposition, DomainGuest, DomainImage, DomainInstance, DomainSpec, RootDisk,
    };
    use kilonova_crds::v1alpha1::{ImageFormat, ImageKind, Power, RestartPolicy};

    const UUID: &str = "6f1c0a52-9d1e-4b57-8a53-0d8e35bfb0c1";

    fn domain(uid: &str, version: u64) -> Domain {
        let spec = DomainSpec {
            instance: DomainInstance {
                namespace: "shop".to_owned(),
                namespace_uid: "n1".to_owned(),
                name: "web-1".to_owned(),
                uid: UUID.to_owned(),
            },
            uuid: UUID.to_owned(),
            vcpus: 1,
            memory: "1Gi".into(),
            disk: "2Gi".into(),
            image: DomainImage {
                kind: ImageKind::Image,
                url: "http://images.example/x".to_owned(),
                checksum: "sha256:00".to_owned(),
                format: ImageFormat::Qcow2,
                virtual_size: "1Gi".into(),
            },
            root_disk: RootDisk::Create,
            ports: Vec::new(),
            guest: DomainGuest {
                hostname: "web-1".to_owned(),
                public_keys: Vec::new(),
                user_data: None,
                user_data_secret: None,
            },
            power: Power::On,
            restart_policy: RestartPolicy::Always,
            termination_grace_period_seconds: 30,
            disposition: Disposition::Run,
            forfeited: false,
        };
        let mut domain = Domain::new(UUID, spec);
        domain.metadata.uid = Some(uid.to_owned());
        domain.metadata.resource_version = Some(version.to_string());
        domain
    }

    fn known(world: &World) -> Option<u64> {
        world.domain(UUID).map(|domain| version(&domain))
    }

    #[test]
    fn what_the_watch_tells_late_does_not_undo_what_a_write_told() {
        let world = World::default();
        world.saw_domain(domain("a", 9));
        world.saw_domain(domain("a", 8));
        assert_eq!(known(&world), Some(9));
        world.saw_domain(domain("a", 10));
        assert_eq!(known(&world), Some(10), "numbers, not texts");
    }

    #[test]
    fn the_end_of_an_earlier_object_is_not_that_of_its_successor() {
        let world = World::default();
        world.saw_domain(domain("b", 20));
        world.lost_domain(&domain("a", 10));
        assert_eq!(known(&world), Some(20));
        world.lost_domain(&domain("b", 21));
        assert_eq!(known(&world), None);
    }

    #[test]
    fn nothing_is_known_before_both_kinds_were_listed() {
        let world = World::default();
        world.listed_domains(vec![domain("a", 1)]);
        assert!(!world.listed());
        world.listed_segments(Vec::new());
        assert!(world.listed());
        world.listed_domains(Vec::new());
        assert_eq!(known(&world), None, "a list says all there is");
    }
}
