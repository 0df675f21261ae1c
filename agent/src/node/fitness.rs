//! What this node lacks, looked at again and again: what is cheap at every report, the rest at a
//! pace, so that a repair is noticed without a restart.

use crate::cli::VirtType;
use kilonova_agent_core::needs::{Lack, NETWORK_PROGRAMS, Need, Program, ROOM, STORAGE_PROGRAMS};
use kilonova_agent_libvirt::Libvirt;
use kilonova_agent_network::Network;
use kilonova_agent_storage::{Storage, TOOL_PATH};
use kilonova_common::telemetry::chain;
use nix::unistd::{AccessFlags, access};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tracing::{info, warn};

/// How often what lasts is looked at while nothing is lacking.
const FIT: Duration = Duration::from_mins(10);
/// How often while something is.
pub const LACKING: Duration = Duration::from_secs(10);

/// What was found when it was last looked at.
#[derive(Default)]
struct Found {
    kernel: Option<(Instant, Vec<Lack>)>,
    emulator: Option<(Instant, Vec<Lack>)>,
    all: Vec<Lack>,
}

/// Looks at this node.
pub struct Fitness {
    network: Arc<Network>,
    state_dir: PathBuf,
    virt_type: VirtType,
    found: Mutex<Found>,
}

impl Fitness {
    /// Nothing was looked at yet.
    pub fn new(network: Arc<Network>, state_dir: PathBuf, virt_type: VirtType) -> Self {
        Self {
            network,
            state_dir,
            virt_type,
            found: Mutex::default(),
        }
    }

    /// Whether the operator named a NIC in a physical network.
    pub fn has_nics(&self) -> bool {
        self.network.has_nics()
    }

    /// What this node lacks. `libvirt`: where it answers.
    pub async fn lacks(&self, libvirt: Option<&Libvirt>) -> Vec<Lack> {
        let mut found = self.found.lock().await;
        if due(found.kernel.as_ref()) {
            found.kernel = Some((Instant::now(), self.kernel().await));
        }
        if let Some(libvirt) = libvirt
            && due(found.emulator.as_ref())
        {
            found.emulator = Some((Instant::now(), self.emulator(libvirt).await));
        }
        let mut all: Vec<_> = self.state_directory().await.into_iter().collect();
        all.extend(programs());
        let slow = [&found.emulator, &found.kernel];
        all.extend(
            slow.into_iter()
                .flatten()
                .flat_map(|(_, lacks)| lacks.clone()),
        );
        tell(&found.all, &all);
        found.all.clone_from(&all);
        all
    }

    /// Whether nothing was lacking when it was last looked.
    pub async fn is_fit(&self) -> bool {
        self.found.lock().await.all.is_empty()
    }

    async fn kernel(&self) -> Vec<Lack> {
        let failed = self.network.probe().await.into_iter();
        let lack = |(feature, error)| Lack {
            need: Need::Kernel(feature),
            why: chain(&error),
        };
        failed.map(lack).collect()
    }

    async fn emulator(&self, libvirt: &Libvirt) -> Vec<Lack> {
        match libvirt.facts().await {
            Ok(facts) if self.virt_type == VirtType::Kvm && !facts.kvm_offered => {
                vec![missing(Need::Kvm)]
            }
            Ok(_) => Vec::new(),
            Err(error) => vec![Lack {
                need: Need::Emulator,
                why: chain(&error),
            }],
        }
    }

    async fn state_directory(&self) -> Option<Lack> {
        let state_dir = self.state_dir.clone();
        let tried = tokio::task::spawn_blocking(move || Storage::try_directory(&state_dir));
        match tried.await {
            Ok(Ok(capacity)) if capacity.free < ROOM => Some(missing(Need::Room)),
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(Lack {
                need: Need::StateDirectory,
                why: chain(&error),
            }),
            Err(error) => Some(Lack {
                need: Need::StateDirectory,
                why: error.to_string(),
            }),
        }
    }
}

fn due(last: Option<&(Instant, Vec<Lack>)>) -> bool {
    last.is_none_or(|(at, lacks)| {
        let pace = if lacks.is_empty() { FIT } else { LACKING };
        at.elapsed() >= pace
    })
}

fn missing(need: Need) -> Lack {
    let why = String::new();
    Lack { need, why }
}

/// The programs that are not there.
fn programs() -> impl Iterator<Item = Lack> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let networks = NETWORK_PROGRAMS.into_iter().map(Need::NetworkProgram);
    let networks: Vec<_> = networks.filter(|need| !there(*need, &path)).collect();
    let storage = STORAGE_PROGRAMS.into_iter().map(Need::StorageProgram);
    let storage = storage.filter(|need| !there(*need, OsStr::new(TOOL_PATH)));
    storage.chain(networks).map(missing)
}

fn there(need: Need, path: &OsStr) -> bool {
    let (Need::StorageProgram(Program { name, .. }) | Need::NetworkProgram(Program { name, .. })) =
        need
    else {
        return true;
    };
    std::env::split_paths(path).any(|directory| {
        let file = directory.join(name);
        file.is_file() && access(&file, AccessFlags::X_OK).is_ok()
    })
}

/// Logs what is news.
fn tell(before: &[Lack], now: &[Lack]) {
    for lack in now.iter().filter(|lack| !before.contains(lack)) {
        warn!(lack = lack.sentence(), "this node lacks something");
    }
    if now.is_empty() && !before.is_empty() {
        info!("this node lacks nothing any more");
    }
}
