//! What is defined in libvirt for a Domain, and the digest by which a definition is known again.

use crate::desired::{Attachment, Desired, NodeSettings};
use crate::owner::Metadata;
use crate::record::Record;
use crate::xml::{DomainXml, Interface, XmlError};
use kilonova_crds::names;
use kilonova_crds::quantity::QuantityError;

/// Hexadecimal digits of a digest: enough to tell an old definition from a new one.
const DIGEST_DIGITS: usize = 32;

/// A definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The document.
    pub xml: String,
    /// Its digest, which stands in its metadata.
    pub digest: String,
}

/// Why a Domain cannot be defined.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// Its memory is no size.
    #[error("memory")]
    Memory(#[source] QuantityError),
    /// A text of it cannot stand in XML.
    #[error("cannot write the domain's XML")]
    Xml(#[from] XmlError),
}

/// The machine type that a domain has: the one that it was first defined with, as long as QEMU
/// still has it.
#[must_use]
pub fn machine(node: &NodeSettings, record: Option<&Record>) -> String {
    record
        .and_then(|record| record.machine.clone())
        .filter(|kept| node.machine_types.contains(kept))
        .unwrap_or_else(|| node.machine.clone())
}

/// The definition of a Domain. `name` is the one that libvirt has for it, where it is defined.
///
/// # Errors
/// When something in the Domain cannot stand in a definition.
pub fn definition(
    node: &NodeSettings,
    desired: &Desired,
    attachments: &[Attachment],
    machine: &str,
    name: Option<&str>,
) -> Result<Definition, DefinitionError> {
    let spec = &desired.spec;
    let instance = &spec.instance;
    let fresh_name = || names::libvirt_domain(&instance.namespace, &instance.name, &spec.uuid);
    let interface = |attachment: &Attachment| Interface {
        tap: attachment.port.tap.as_str().to_owned(),
        mac: attachment.port.mac.to_string(),
        mtu: attachment.port.mtu,
    };
    let mut domain = DomainXml {
        virtualization: node.virtualization,
        name: name.map_or_else(fresh_name, str::to_owned),
        uuid: spec.uuid.clone(),
        title: format!("{}/{}", instance.namespace, instance.name),
        metadata: String::new(),
        vcpus: spec.vcpus,
        memory_bytes: spec.memory.bytes().map_err(DefinitionError::Memory)?,
        machine: machine.to_owned(),
        root_disk: desired.paths.root_disk.clone(),
        cache: node.cache,
        config_drive: desired.paths.config_drive.clone(),
        interfaces: attachments.iter().map(interface).collect(),
        console_log: desired.paths.console_log.clone(),
    };
    let mut metadata = Metadata {
        owner: desired.owner.clone(),
        definition: String::new(),
    };
    domain.metadata = metadata.to_xml();
    let digest = names::short_hash(&domain.to_xml()?, DIGEST_DIGITS);
    metadata.definition.clone_from(&digest);
    domain.metadata = metadata.to_xml();
    let xml = domain.to_xml()?;
    Ok(Definition { xml, digest })
}
