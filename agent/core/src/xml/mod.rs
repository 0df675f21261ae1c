//! The libvirt domain XML of an instance, from typed values.
//!
//! Every text goes through the XML writer, which escapes it: nothing that a tenant writes can add
//! an element. What XML cannot hold at all (control characters) is an error. `x86_64` on the
//! machine type `q35` is what is written here.

mod domain;
mod probe;
mod writer;

pub use domain::{CacheMode, DomainXml, Interface};
pub use probe::{PROBE_OUTPUT, PROBE_UUID, ProbeXml, probe_disk};
pub use writer::XmlError;

/// Namespace of the element that Kilonova keeps in a libvirt domain's `<metadata>`.
pub const METADATA_NAMESPACE: &str = "https://kilonova.dev/xmlns/instance/1";

#[cfg(test)]
mod tests;
