//! What the node has of one instance, and of all.

use super::Runner;
use kilonova_agent_core::desired::{Attachment, Observed, Room, attachments};
use kilonova_agent_core::hypervisor::{Ownership, ownership};
use kilonova_agent_core::network::{Netns, NodeNetwork};
use kilonova_agent_core::observed::LibvirtDomain;
use kilonova_agent_core::ports::places;
use kilonova_agent_core::record::InstanceFiles;
use kilonova_agent_storage::ImageRequest;
use kilonova_crds::node::{DomainSpec, SegmentSpec};
use nix::sys::statvfs::statvfs;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where libvirt saves the memory of suspended guests.
const SAVE_DIRECTORY: &str = "/var/lib/libvirt";

/// Why something cannot be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// libvirt does not say.
    #[error("libvirt")]
    Libvirt(#[from] kilonova_agent_libvirt::Error),
    /// The state directory cannot be read.
    #[error("the state directory")]
    Storage(#[from] kilonova_agent_storage::Error),
    /// The kernel does not say.
    #[error("the node's network")]
    Network(#[from] kilonova_agent_network::Error),
}

/// What there was of everything at one moment: asked for once, where all are looked at.
#[derive(Debug)]
pub struct Snapshot {
    /// Before it was taken.
    pub began: Instant,
    /// The libvirt domains, by UUID.
    pub domains: HashMap<String, LibvirtDomain>,
    /// The directories of instances, by UUID.
    pub files: HashMap<String, InstanceFiles>,
    /// The network.
    pub network: NodeNetwork,
}

/// One instance as it is, with its ports as they should be.
pub struct Sight {
    /// As it is.
    pub observed: Observed,
    /// Its ports, where they can be told.
    pub attachments: Vec<Attachment>,
}

impl Runner {
    /// Looks at one instance. `spec` and `segments` are what is asked for, or remembered.
    pub(super) async fn observe(
        &self,
        uuid: &str,
        spec: Option<(&DomainSpec, &[SegmentSpec])>,
        restart_wait: Option<Duration>,
        snapshot: Option<&Snapshot>,
    ) -> Result<Sight, ObserveError> {
        let parts = self.parts();
        let (files, libvirt) = match snapshot {
            Some(all) => (all.files.get(uuid).cloned(), all.domains.get(uuid).cloned()),
            None => (
                parts.storage.instances().get(uuid).await?,
                parts.libvirt.get(uuid).await?,
            ),
        };
        let attachments = wanted(spec, files.as_ref());
        let taps = if let Some(all) = snapshot {
            places(uuid, &attachments, &all.network)
        } else {
            let netns = netns(spec, files.as_ref());
            let network = parts.network.observe_some(&netns).await?;
            places(uuid, &attachments, &network)
        };
        let disk = files.as_ref().is_some_and(|files| files.disk.is_some());
        let metadata = libvirt.as_ref().and_then(|domain| {
            match ownership(&parts.settings.cluster_id, domain) {
                Ownership::Own(metadata) => Some(metadata),
                Ownership::Foreign => None,
            }
        });
        let observed = Observed {
            ports: taps,
            metadata,
            libvirt,
            image_cached: match spec {
                Some((spec, _)) if !disk => self.cached(spec).await,
                _ => true,
            },
            files,
            room: self.room()?,
            restart_wait,
        };
        Ok(Sight {
            observed,
            attachments,
        })
    }

    /// What is no image at all, or cannot be read, is told of when it is to be fetched.
    async fn cached(&self, spec: &DomainSpec) -> bool {
        let Ok(request) = ImageRequest::try_from(&spec.image) else {
            return false;
        };
        let found = self.parts().storage.images().find(&request).await;
        found.is_ok_and(|image| image.is_some())
    }

    fn room(&self) -> Result<Room, ObserveError> {
        let disk = self.parts().storage.capacity()?.free;
        Ok(Room {
            disk_bytes: disk,
            memory_bytes: memory_available().unwrap_or(u64::MAX),
            save_bytes: free(Path::new(SAVE_DIRECTORY)).unwrap_or(disk),
        })
    }

    /// Looks at everything.
    pub(super) async fn snapshot(&self) -> Result<Arc<Snapshot>, ObserveError> {
        let began = Instant::now();
        let parts = self.parts();
        let instances = parts.storage.instances();
        let (domains, files, network) = tokio::join!(
            parts.libvirt.list(),
            instances.list(),
            parts.network.observe()
        );
        let domains = domains?.into_iter().map(|d| (d.uuid.clone(), d));
        let files = files?.into_iter().map(|f| (f.uuid.clone(), f));
        Ok(Arc::new(Snapshot {
            began,
            domains: domains.collect(),
            files: files.collect(),
            network: network?,
        }))
    }

    /// The UUIDs of all that is here: directories, and libvirt domains of this cluster's.
    pub(super) fn here(&self, snapshot: &Snapshot) -> BTreeSet<String> {
        let cluster = &self.parts().settings.cluster_id;
        let own = |domain: &&LibvirtDomain| ownership(cluster, domain) != Ownership::Foreign;
        let domains = snapshot.domains.values().filter(own);
        let domains = domains.map(|domain| domain.uuid.clone());
        domains.chain(snapshot.files.keys().cloned()).collect()
    }

    /// Removes the Segments that nothing is in and nobody holds.
    pub(super) async fn sweep(&self, network: &NodeNetwork) -> Result<(), ObserveError> {
        let parts = self.parts();
        for (netns, segment) in &network.segments {
            if segment.ports.values().all(|port| port.link.is_none()) {
                parts.holders.sweep(&parts.network, netns).await?;
            }
        }
        Ok(())
    }
}

/// The ports as they should be: as asked for, or as remembered.
fn wanted(
    spec: Option<(&DomainSpec, &[SegmentSpec])>,
    files: Option<&InstanceFiles>,
) -> Vec<Attachment> {
    let remembered = files.and_then(|files| files.record.as_ref());
    let old = remembered.map_or(&[][..], |record| &record.segments);
    let asked = spec.and_then(|(spec, segments)| {
        let known: Vec<_> = segments.iter().chain(old).cloned().collect();
        attachments(spec, &known).ok()
    });
    let kept = || remembered.and_then(|record| attachments(&record.spec, old).ok());
    asked.or_else(kept).unwrap_or_default()
}

/// Every Segment that a port of it may be in.
fn netns(
    spec: Option<(&DomainSpec, &[SegmentSpec])>,
    files: Option<&InstanceFiles>,
) -> BTreeSet<Netns> {
    let asked = spec.into_iter().flat_map(|(spec, _)| &spec.ports);
    let remembered = files.and_then(|files| files.record.as_ref());
    let kept = remembered.into_iter().flat_map(|record| &record.spec.ports);
    asked
        .chain(kept)
        .map(|port| Netns::of_network(&port.segment))
        .collect()
}

/// Memory that a new process could have, in bytes, as the kernel estimates it.
fn memory_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn free(path: &Path) -> Option<u64> {
    let stat = statvfs(path).ok()?;
    Some(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// The kernel's release, as `uname -r` says it.
pub fn kernel_release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}
