//! How guests run on this node: KVM that is there need not work, so a tiny guest tries it, once in
//! a boot.

use crate::cli::VirtType;
use kilonova_agent_core::observed::NodeFacts;
use kilonova_agent_libvirt::Libvirt;
use kilonova_crds::v1alpha1::VirtualizationType;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::{info, warn};

/// How long the tiny guest may take; it needs half a second.
const WITHIN: Duration = Duration::from_secs(5);

/// Why it cannot be found out.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The probe cannot be tried.
    #[error("cannot try whether guests run under KVM")]
    Libvirt(#[from] kilonova_agent_libvirt::Error),
    /// Its files cannot be written.
    #[error("cannot use {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What was found out, and in which boot.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    boot_id: String,
    kvm: bool,
}

/// How guests are run here.
pub async fn virtualization(
    asked: VirtType,
    libvirt: &Libvirt,
    facts: &NodeFacts,
    machine: &str,
    state_dir: &Path,
) -> Result<VirtualizationType, ProbeError> {
    let kvm = match asked {
        VirtType::Kvm => true,
        VirtType::Qemu => false,
        VirtType::Auto if !facts.kvm_offered => false,
        VirtType::Auto => works(libvirt, machine, state_dir).await?,
    };
    Ok(if kvm {
        VirtualizationType::Kvm
    } else {
        VirtualizationType::Qemu
    })
}

async fn works(libvirt: &Libvirt, machine: &str, state_dir: &Path) -> Result<bool, ProbeError> {
    let path = state_dir.join("kvm.json");
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let known = std::fs::read(&path).ok();
    let known = known.and_then(|text| serde_json::from_slice::<Verdict>(&text).ok());
    if let Some(verdict) = known.filter(|verdict| verdict.boot_id == boot_id) {
        return Ok(verdict.kvm);
    }
    let directory = state_dir.join("probe");
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o711).create(&directory);
    made.map_err(file(&directory))?;
    let kvm = libvirt
        .runs_guests(VirtualizationType::Kvm, machine, &directory, WITHIN)
        .await?;
    if kvm {
        info!("guests run under KVM");
    } else {
        warn!("KVM is offered, and a guest does not run under it: guests are emulated");
    }
    let verdict = Verdict { boot_id, kvm };
    // Serialising two plain fields cannot fail.
    let text = serde_json::to_vec(&verdict).unwrap_or_default();
    std::fs::write(&path, text).map_err(file(&path))?;
    Ok(kvm)
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> ProbeError {
    move |source| ProbeError::File {
        path: path.to_owned(),
        source,
    }
}
