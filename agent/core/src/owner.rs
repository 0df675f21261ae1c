//! Whose a libvirt domain is: the element that Kilonova keeps in its `<metadata>`.
//!
//! It is the only proof that a domain is ours: a domain without it, or with another cluster's id,
//! is foreign and never touched. Every value is percent-encoded, so that no name of a tenant's
//! can leave its attribute and no tool between us and libvirt can change it.

use kilonova_crds::node::DomainInstance;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::fmt::Write;

use crate::observed::LibvirtDomain;
use crate::record::Owner;
use crate::xml::METADATA_NAMESPACE;

/// Prefix of our element's XML namespace.
const PREFIX: &str = "kilonova";
/// Local name of our element.
const ELEMENT: &str = "owner";

impl Owner {
    /// The owner of an Instance's domain in this cluster.
    #[must_use]
    pub fn new(cluster_id: &str, instance: &DomainInstance, uuid: &str) -> Self {
        Self {
            cluster_id: cluster_id.to_owned(),
            namespace: instance.namespace.clone(),
            namespace_uid: instance.namespace_uid.clone(),
            name: instance.name.clone(),
            uid: instance.uid.clone(),
            uuid: uuid.to_owned(),
        }
    }
}

/// What stands in a libvirt domain's `<metadata>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Whose it is.
    pub owner: Owner,
    /// Digest of the definition that it was defined with.
    pub definition: String,
}

/// The element is not one of ours.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// It is no XML.
    #[error("the metadata is no XML")]
    Xml(#[from] quick_xml::Error),
    /// An attribute is malformed.
    #[error("the metadata has a malformed attribute")]
    Attribute(#[from] quick_xml::events::attributes::AttrError),
    /// It is another element, or none.
    #[error("the metadata has no element {ELEMENT:?}")]
    NoElement,
    /// One of its attributes is missing.
    #[error("the metadata has no attribute {0:?}")]
    Missing(&'static str),
    /// A value is not percent-encoded UTF-8.
    #[error("the attribute {0:?} of the metadata cannot be decoded")]
    Encoding(&'static str),
}

impl Metadata {
    /// The element, for `<metadata>`.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let owner = &self.owner;
        let mut xml = format!("<{PREFIX}:{ELEMENT} xmlns:{PREFIX}=\"{METADATA_NAMESPACE}\"");
        for (name, value) in [
            ("cluster", &owner.cluster_id),
            ("namespace", &owner.namespace),
            ("namespaceUid", &owner.namespace_uid),
            ("name", &owner.name),
            ("uid", &owner.uid),
            ("uuid", &owner.uuid),
            ("definition", &self.definition),
        ] {
            // Writing to a String cannot fail.
            let _ = write!(xml, " {name}=\"{}\"", encode(value));
        }
        xml.push_str("/>");
        xml
    }

    /// Reads the element as libvirt gives it back.
    ///
    /// # Errors
    /// When it is not our element, or one of its attributes is missing or malformed.
    pub fn parse(xml: &str) -> Result<Self, MetadataError> {
        let mut reader = Reader::from_str(xml);
        loop {
            match reader.read_event()? {
                Event::Start(element) | Event::Empty(element)
                    if element.local_name().as_ref() == ELEMENT =>
                {
                    return Self::from_element(&element);
                }
                Event::Eof => return Err(MetadataError::NoElement),
                _ => {}
            }
        }
    }

    fn from_element(element: &BytesStart<'_>) -> Result<Self, MetadataError> {
        let value = |name: &'static str| -> Result<String, MetadataError> {
            let attribute = element
                .try_get_attribute(name)?
                .ok_or(MetadataError::Missing(name))?;
            decode(attribute.value.as_bytes()).ok_or(MetadataError::Encoding(name))
        };
        Ok(Self {
            owner: Owner {
                cluster_id: value("cluster")?,
                namespace: value("namespace")?,
                namespace_uid: value("namespaceUid")?,
                name: value("name")?,
                uid: value("uid")?,
                uuid: value("uuid")?,
            },
            definition: value("definition")?,
        })
    }
}

/// What of a libvirt domain is ours: `None` means that it is foreign. A copy under another UUID
/// (`virt-clone` keeps the metadata) is foreign too.
#[must_use]
pub fn ours(domain: &LibvirtDomain, cluster_id: &str) -> Option<Metadata> {
    let metadata = Metadata::parse(domain.metadata.as_deref()?).ok()?;
    let ours = metadata.owner.cluster_id == cluster_id && metadata.owner.uuid == domain.uuid;
    ours.then_some(metadata)
}

/// Percent-encodes every byte that is not plainly harmless.
fn encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The inverse of [`encode`]; `None` for what it cannot have written.
fn decode(encoded: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::observed::{LibvirtState, StateReason};
    use proptest::prelude::*;

    fn metadata(name: &str) -> Metadata {
        Metadata {
            owner: Owner {
                cluster_id: "c1".into(),
                namespace: "shop".into(),
                namespace_uid: "n1".into(),
                name: name.into(),
                uid: "u1".into(),
                uuid: "6f1c0a52-9d1e-4b57-8a53-0d8e35bfb0c1".into(),
            },
            definition: "ab12".into(),
        }
    }

    fn domain(uuid: &str, metadata: Option<String>) -> LibvirtDomain {
        LibvirtDomain {
            uuid: uuid.into(),
            name: "d".into(),
            state: LibvirtState::Running,
            reason: StateReason::Other,
            persistent: true,
            managed_save: false,
            metadata,
            vcpus: 1,
            memory_bytes: 1 << 20,
        }
    }

    proptest! {
        #[test]
        fn any_name_survives(name in any::<String>()) {
            let metadata = metadata(&name);
            prop_assert_eq!(Metadata::parse(&metadata.to_xml()).unwrap(), metadata);
        }

        #[test]
        fn any_text_is_read_without_panic(text in any::<String>()) {
            let _ = Metadata::parse(&text);
        }
    }

    #[test]
    fn a_hostile_name_stays_in_its_attribute() {
        let xml = metadata("\"/><evil xmlns='x'>\n&#0;%41").to_xml();
        assert!(!xml.contains("evil xmlns"), "{xml}");
        assert_eq!(xml.matches('<').count(), 1);
    }

    #[test]
    fn only_what_bears_our_cluster_and_its_own_uuid_is_ours() {
        let mine = metadata("web-1");
        let uuid = mine.owner.uuid.clone();
        let other = "00000000-0000-4000-8000-000000000000";
        assert_eq!(
            ours(&domain(&uuid, Some(mine.to_xml())), "c1"),
            Some(mine.clone())
        );
        for (foreign, why) in [
            (domain(&uuid, None), "no metadata"),
            (domain(&uuid, Some("<x".into())), "no XML"),
            (domain(&uuid, Some("<owner/>".into())), "no attributes"),
            (domain(other, Some(mine.to_xml())), "a copy"),
        ] {
            assert_eq!(ours(&foreign, "c1"), None, "{why}");
        }
        assert_eq!(ours(&domain(&uuid, Some(mine.to_xml())), "c2"), None);
    }
}
