//! libvirt's capabilities document, what the agent needs of it.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::collections::BTreeSet;

/// Why the document cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CapabilitiesError {
    /// It is no XML.
    #[error("it is no XML")]
    Xml(#[from] quick_xml::Error),
    /// An attribute is malformed.
    #[error("an attribute is malformed")]
    Attribute(#[from] quick_xml::events::attributes::AttrError),
    /// It does not say what the node's architecture is.
    #[error("it names no architecture")]
    NoArchitecture,
}

/// What is taken from it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) architecture: String,
    pub(crate) cpu_model: Option<String>,
    pub(crate) cpu_vendor: Option<String>,
    /// Canonical machine types of the node's own architecture, sorted.
    pub(crate) machine_types: Vec<String>,
    /// Whether KVM is offered for it.
    pub(crate) kvm: bool,
}

/// The reader's place in the document, and what it found.
#[derive(Default)]
struct Walk {
    path: Vec<String>,
    found: Capabilities,
    machines: BTreeSet<String>,
    /// The architecture of the `<guest>` that is being read.
    guest: String,
    /// An alias of a machine type that has a canonical name.
    alias: bool,
}

impl Capabilities {
    pub(crate) fn parse(xml: &str) -> Result<Self, CapabilitiesError> {
        let mut reader = Reader::from_str(xml);
        let mut walk = Walk::default();
        loop {
            match reader.read_event()? {
                Event::Start(element) => walk.enter(&element)?,
                Event::Empty(element) => {
                    walk.enter(&element)?;
                    walk.path.pop();
                }
                Event::End(_) => {
                    walk.path.pop();
                }
                Event::Text(text) => walk.text(&text),
                Event::Eof => break,
                _ => {}
            }
        }
        if walk.found.architecture.is_empty() {
            return Err(CapabilitiesError::NoArchitecture);
        }
        walk.found.machine_types = walk.machines.into_iter().collect();
        Ok(walk.found)
    }
}

impl Walk {
    fn enter(&mut self, element: &BytesStart<'_>) -> Result<(), CapabilitiesError> {
        self.path.push(element.local_name().as_ref().to_owned());
        match self.at().as_slice() {
            ["capabilities", "guest", "arch"] => {
                self.guest = attribute(element, "name")?.unwrap_or_default();
            }
            ["capabilities", "guest", "arch", "domain"] if self.is_own() => {
                self.found.kvm |= attribute(element, "type")?.as_deref() == Some("kvm");
            }
            ["capabilities", "guest", "arch", .., "machine"] => {
                let canonical = attribute(element, "canonical")?;
                self.alias = canonical.is_some();
                if self.is_own() {
                    self.machines.extend(canonical);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        match self.at().as_slice() {
            ["capabilities", "host", "cpu", "arch"] => {
                text.clone_into(&mut self.found.architecture);
            }
            ["capabilities", "host", "cpu", "model"] => {
                self.found.cpu_model = Some(text.to_owned());
            }
            ["capabilities", "host", "cpu", "vendor"] => {
                self.found.cpu_vendor = Some(text.to_owned());
            }
            ["capabilities", "guest", "arch", .., "machine"] if self.is_own() && !self.alias => {
                self.machines.insert(text.to_owned());
            }
            _ => {}
        }
    }

    fn at(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    /// Whether the guest that is being read is of the node's architecture: libvirt writes the host
    /// first.
    fn is_own(&self) -> bool {
        self.guest == self.found.architecture
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, CapabilitiesError> {
    let found = element.try_get_attribute(name)?;
    Ok(found.map(|attribute| attribute.value.into_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const DOCUMENT: &str = r"
<capabilities>
  <host>
    <uuid>8c1d</uuid>
    <cpu><arch>x86_64</arch><model>Skylake-Server</model><vendor>Intel</vendor>
      <topology sockets='1' dies='1' cores='2' threads='1'/><feature name='vmx'/></cpu>
    <topology><cells num='1'><cell id='0'><memory unit='KiB'>1</memory></cell></cells></topology>
  </host>
  <guest>
    <os_type>hvm</os_type>
    <arch name='i686'>
      <machine maxCpus='255'>isapc</machine>
      <domain type='qemu'/><domain type='kvm'/>
    </arch>
  </guest>
  <guest>
    <os_type>hvm</os_type>
    <arch name='x86_64'>
      <machine maxCpus='288'>pc-q35-7.2</machine>
      <machine canonical='pc-q35-7.2' maxCpus='288'>q35</machine>
      <machine canonical='pc-i440fx-7.2' maxCpus='255'>pc</machine>
      <domain type='qemu'/>
    </arch>
  </guest>
</capabilities>";

    #[test]
    fn reads_the_nodes_own_architecture_only() {
        let expected = Capabilities {
            architecture: "x86_64".to_owned(),
            cpu_model: Some("Skylake-Server".to_owned()),
            cpu_vendor: Some("Intel".to_owned()),
            machine_types: vec!["pc-i440fx-7.2".to_owned(), "pc-q35-7.2".to_owned()],
            kvm: false,
        };
        assert_eq!(Capabilities::parse(DOCUMENT).unwrap(), expected);
        let with_kvm = DOCUMENT.replace(
            "<domain type='qemu'/>\n    </arch>\n  </guest>\n</cap",
            "<domain type='qemu'/><domain type='kvm'/>\n    </arch>\n  </guest>\n</cap",
        );
        assert!(Capabilities::parse(&with_kvm).unwrap().kvm);
    }

    #[test]
    fn says_what_is_missing() {
        let nothing = Capabilities::parse("<capabilities/>");
        assert!(matches!(nothing, Err(CapabilitiesError::NoArchitecture)));
        assert!(Capabilities::parse("<capabilities><host").is_err());
    }
}
