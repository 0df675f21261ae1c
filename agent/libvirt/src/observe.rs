//! libvirt's answers as the agent's core reads them.

use crate::Error;
use crate::capabilities::Capabilities;
use kilonova_agent_core::observed::{LibvirtDomain, LibvirtState, NodeFacts, StateReason};
use kilonova_agent_core::xml::METADATA_NAMESPACE;
use std::collections::HashSet;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::ErrorNumber;
use virt::sys;

/// All domains, in five questions each and three in all.
pub(crate) fn list(call: &'static str, connect: &Connect) -> Result<Vec<LibvirtDomain>, Error> {
    let error = |error| Error::from_virt(call, &error);
    let such = |flag| -> Result<HashSet<String>, Error> {
        let domains = connect.list_all_domains(flag).map_err(error)?;
        let uuids = domains.iter().map(Domain::get_uuid_string);
        uuids.collect::<Result<_, _>>().map_err(error)
    };
    let domains = connect.list_all_domains(0).map_err(error)?;
    let persistent = such(sys::VIR_CONNECT_LIST_DOMAINS_PERSISTENT)?;
    let saved = such(sys::VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)?;
    let mut observed = Vec::with_capacity(domains.len());
    for domain in domains {
        let uuid = domain.get_uuid_string().map_err(error)?;
        let flags = (persistent.contains(&uuid), saved.contains(&uuid));
        match observe(&domain, uuid, flags) {
            Ok(domain) => observed.push(domain),
            // It went while we asked.
            Err(gone) if gone.code() == ErrorNumber::NoDomain => {}
            Err(other) => return Err(error(other)),
        }
    }
    Ok(observed)
}

/// One domain.
pub(crate) fn get(domain: &Domain) -> Result<LibvirtDomain, virt::error::Error> {
    let flags = (domain.is_persistent()?, domain.has_managed_save(0)?);
    observe(domain, domain.get_uuid_string()?, flags)
}

fn observe(
    domain: &Domain,
    uuid: String,
    (persistent, managed_save): (bool, bool),
) -> Result<LibvirtDomain, virt::error::Error> {
    let (raw_state, raw_reason) = domain.get_state()?;
    let info = domain.get_info()?;
    Ok(LibvirtDomain {
        uuid,
        name: domain.get_name()?,
        state: state(raw_state),
        reason: reason(raw_state, raw_reason),
        persistent,
        managed_save,
        metadata: metadata(domain)?,
        vcpus: info.nr_virt_cpu,
        memory_bytes: info.max_mem * 1024,
    })
}

fn metadata(domain: &Domain) -> Result<Option<String>, virt::error::Error> {
    let kind = sys::VIR_DOMAIN_METADATA_ELEMENT.cast_signed();
    match domain.get_metadata(kind, Some(METADATA_NAMESPACE), 0) {
        Ok(element) => Ok(Some(element)),
        Err(none) if none.code() == ErrorNumber::NoDomainMetadata => Ok(None),
        Err(other) => Err(other),
    }
}

fn state(state: sys::virDomainState) -> LibvirtState {
    match state {
        sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED => LibvirtState::Running,
        sys::VIR_DOMAIN_PAUSED => LibvirtState::Paused,
        sys::VIR_DOMAIN_SHUTDOWN => LibvirtState::ShuttingDown,
        sys::VIR_DOMAIN_CRASHED => LibvirtState::Crashed,
        sys::VIR_DOMAIN_PMSUSPENDED => LibvirtState::PmSuspended,
        // SHUTOFF, and NOSTATE, which QEMU's driver does not use.
        _ => LibvirtState::Shutoff,
    }
}

fn reason(state: sys::virDomainState, reason: i32) -> StateReason {
    let reason = reason.cast_unsigned();
    match state {
        sys::VIR_DOMAIN_PAUSED => match reason {
            sys::VIR_DOMAIN_PAUSED_IOERROR => StateReason::IoError,
            sys::VIR_DOMAIN_PAUSED_USER | sys::VIR_DOMAIN_PAUSED_STARTING_UP => StateReason::User,
            _ => StateReason::Other,
        },
        sys::VIR_DOMAIN_SHUTOFF => match reason {
            sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN => StateReason::GuestShutdown,
            sys::VIR_DOMAIN_SHUTOFF_DESTROYED => StateReason::Destroyed,
            sys::VIR_DOMAIN_SHUTOFF_CRASHED | sys::VIR_DOMAIN_SHUTOFF_FAILED => StateReason::Failed,
            sys::VIR_DOMAIN_SHUTOFF_SAVED => StateReason::Saved,
            _ => StateReason::Other,
        },
        sys::VIR_DOMAIN_CRASHED => StateReason::Failed,
        _ => StateReason::Other,
    }
}

/// What the node is and has.
pub(crate) fn facts(call: &'static str, connect: &Connect) -> Result<NodeFacts, Error> {
    let error = |error| Error::from_virt(call, &error);
    let node = connect.get_node_info().map_err(error)?;
    let capabilities = connect.get_capabilities().map_err(error)?;
    let capabilities = Capabilities::parse(&capabilities).map_err(|source| Error::Unreadable {
        call,
        message: format!("libvirt's capabilities: {source}"),
    })?;
    Ok(NodeFacts {
        vcpus: node.cpus,
        memory_bytes: node.memory * 1024,
        cpu_model: capabilities.cpu_model.unwrap_or(node.model),
        cpu_vendor: capabilities.cpu_vendor,
        machine_types: capabilities.machine_types,
        kvm_offered: capabilities.kvm,
        architecture: capabilities.architecture,
        libvirt_version: version(connect.get_lib_version().map_err(error)?),
        qemu_version: version(connect.get_hyp_version().map_err(error)?),
        hostname: connect.get_hostname().map_err(error)?,
    })
}

/// `major * 1,000,000 + minor * 1,000 + release`, as libvirt writes all versions.
fn version(number: u32) -> String {
    let (major, minor, release) = (number / 1_000_000, number / 1000 % 1000, number % 1000);
    format!("{major}.{minor}.{release}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_states_with_their_reasons() {
        for (raw, detail, expected) in [
            (
                sys::VIR_DOMAIN_RUNNING,
                1,
                (LibvirtState::Running, StateReason::Other),
            ),
            (
                sys::VIR_DOMAIN_PAUSED,
                5,
                (LibvirtState::Paused, StateReason::IoError),
            ),
            (
                sys::VIR_DOMAIN_PAUSED,
                11,
                (LibvirtState::Paused, StateReason::User),
            ),
            (
                sys::VIR_DOMAIN_SHUTOFF,
                1,
                (LibvirtState::Shutoff, StateReason::GuestShutdown),
            ),
            (
                sys::VIR_DOMAIN_SHUTOFF,
                2,
                (LibvirtState::Shutoff, StateReason::Destroyed),
            ),
            (
                sys::VIR_DOMAIN_SHUTOFF,
                3,
                (LibvirtState::Shutoff, StateReason::Failed),
            ),
            (
                sys::VIR_DOMAIN_SHUTOFF,
                5,
                (LibvirtState::Shutoff, StateReason::Saved),
            ),
            (
                sys::VIR_DOMAIN_SHUTOFF,
                6,
                (LibvirtState::Shutoff, StateReason::Failed),
            ),
            (
                sys::VIR_DOMAIN_SHUTOFF,
                -1,
                (LibvirtState::Shutoff, StateReason::Other),
            ),
            (
                sys::VIR_DOMAIN_CRASHED,
                1,
                (LibvirtState::Crashed, StateReason::Failed),
            ),
        ] {
            assert_eq!(
                (state(raw), reason(raw, detail)),
                expected,
                "{raw} {detail}"
            );
        }
    }

    #[test]
    fn reads_versions() {
        assert_eq!(version(9_000_000), "9.0.0");
        assert_eq!(version(7_002_022), "7.2.22");
    }
}
