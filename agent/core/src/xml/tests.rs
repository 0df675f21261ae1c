//! The documents, read back and whole.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use kilonova_crds::v1alpha1::VirtualizationType;
use proptest::prelude::*;
use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::Event;
use std::fmt::Write;

const UUID: &str = "6f1c0a52-9d1e-4b57-8a53-0d8e35bfb0c1";

fn domain() -> DomainXml {
    DomainXml {
        virtualization: VirtualizationType::Qemu,
        name: "shop_web_6f1c0a52".to_owned(),
        uuid: UUID.to_owned(),
        title: "shop/web".to_owned(),
        metadata: format!("<kilonova:owner xmlns:kilonova=\"{METADATA_NAMESPACE}\"/>"),
        vcpus: 2,
        memory_bytes: (1 << 30) + 1,
        machine: "pc-q35-7.2".to_owned(),
        root_disk: "/state/disk.qcow2".to_owned(),
        cache: CacheMode::None,
        config_drive: "/state/config.iso".to_owned(),
        interfaces: vec![Interface {
            tap: "kt6f1c0a529d10".to_owned(),
            mac: "fa:16:3e:00:00:01".to_owned(),
            mtu: 1450,
        }],
        console_log: "/state/console.log".to_owned(),
    }
}

/// The document's elements, a line each: path, attributes and text as a parser sees them.
fn read(xml: &str) -> Vec<String> {
    let mut reader = Reader::from_str(xml);
    let (mut path, mut lines) = (Vec::new(), Vec::new());
    loop {
        let event = reader.read_event().unwrap();
        let empty = matches!(event, Event::Empty(_));
        match event {
            Event::Start(element) | Event::Empty(element) => {
                path.push(element.name().as_ref().to_owned());
                let mut line = path.join("/");
                for attribute in element.attributes() {
                    let attribute = attribute.unwrap();
                    let value = unescape(&attribute.value).unwrap();
                    write!(line, " {}={value:?}", attribute.key.as_ref()).unwrap();
                }
                lines.push(line);
                if empty {
                    path.pop();
                }
            }
            Event::End(_) => drop(path.pop()),
            Event::Text(text) if !text.trim().is_empty() => {
                let line = lines.last_mut().unwrap();
                write!(line, ": {:?}", unescape(&text).unwrap()).unwrap();
            }
            // Entities are events of their own.
            Event::GeneralRef(entity) => {
                let line = lines.last_mut().unwrap();
                write!(line, "&{}", &*entity).unwrap();
            }
            Event::Eof => return lines,
            _ => {}
        }
    }
}

#[test]
fn a_domain_is_this_document() {
    let xml = domain().to_xml().unwrap();
    assert_eq!(xml.trim(), include_str!("domain.xml").trim());
}

#[test]
fn kvm_has_its_own_cpu_and_no_translated_code() {
    let kvm = DomainXml {
        virtualization: VirtualizationType::Kvm,
        cache: CacheMode::Writeback,
        ..domain()
    };
    let (with, without) = (
        read(&kvm.to_xml().unwrap()),
        read(&domain().to_xml().unwrap()),
    );
    let only = |a: &[String], b: &[String]| -> Vec<String> {
        a.iter().filter(|line| !b.contains(line)).cloned().collect()
    };
    let driver = |cache| {
        format!(
            "domain/devices/disk/driver name=\"qemu\" type=\"qcow2\" cache=\"{cache}\" \
             error_policy=\"enospace\" discard=\"unmap\""
        )
    };
    assert_eq!(
        only(&with, &without),
        [
            "domain type=\"kvm\"".to_owned(),
            "domain/cpu mode=\"host-model\"".to_owned(),
            driver("writeback"),
        ]
    );
    assert_eq!(
        only(&without, &with),
        [
            "domain type=\"qemu\"".to_owned(),
            "domain/features/tcg".to_owned(),
            "domain/features/tcg/tb-cache unit=\"MiB\": \"64\"".to_owned(),
            "domain/cpu mode=\"maximum\"".to_owned(),
            driver("none"),
        ]
    );
}

#[test]
fn what_xml_cannot_hold_is_refused() {
    for character in ['\0', '\u{1}', '\u{1b}', '\u{fffe}', '\u{ffff}'] {
        let title = DomainXml {
            title: format!("a{character}b"),
            ..domain()
        };
        let attribute = DomainXml {
            root_disk: format!("/a{character}b"),
            ..domain()
        };
        let metadata = DomainXml {
            metadata: format!("<a>{character}</a>"),
            ..domain()
        };
        for refused in [title, attribute, metadata] {
            let error = refused.to_xml().unwrap_err();
            let of = character;
            assert!(
                matches!(error, XmlError::Character { character, .. } if character == of),
                "{error}"
            );
        }
    }
}

#[test]
fn a_probe_is_this_document() {
    let probe = ProbeXml {
        virtualization: VirtualizationType::Kvm,
        machine: "pc-q35-7.2".to_owned(),
        disk: "/state/<probe>".to_owned(),
        output: "/state/&out".to_owned(),
    };
    let lines = read(&probe.to_xml().unwrap());
    for line in [
        "domain type=\"kvm\"",
        "domain/os/type arch=\"x86_64\" machine=\"pc-q35-7.2\": \"hvm\"",
        "domain/devices/disk/source file=\"/state/<probe>\"",
        "domain/devices/serial/source path=\"/state/&out\"",
    ] {
        assert!(lines.iter().any(|seen| seen == line), "{line}: {lines:#?}");
    }
    let disk = probe_disk();
    assert_eq!((disk.len(), &disk[510..512]), (1 << 20, &[0x55, 0xaa][..]));
}

proptest! {
    /// Whatever is in a name, it is in its place and nowhere else.
    #[test]
    fn hostile_names_come_back(text in "[ -~\t\n\ré🦀<>&'\"]{1,40}", tap in "\\PC{1,15}") {
        let hostile = DomainXml {
            name: text.clone(),
            title: format!("{text}]]><!--"),
            root_disk: text.clone(),
            machine: format!("\"/><x a=\"{text}"),
            interfaces: vec![Interface { tap: tap.clone(), ..domain().interfaces[0].clone() }],
            ..domain()
        };
        let xml = hostile.to_xml().unwrap();
        let document: Vec<_> = elements(&xml);
        prop_assert_eq!(document, elements(&domain().to_xml().unwrap()));
        prop_assert_eq!(values(&xml, "name", None), [text.clone()]);
        prop_assert_eq!(values(&xml, "title", None), [hostile.title]);
        prop_assert!(values(&xml, "source", Some("file")).contains(&text));
        prop_assert_eq!(values(&xml, "type", Some("machine")), [hostile.machine]);
        prop_assert!(values(&xml, "target", Some("dev")).contains(&tap));
    }
}

/// Names of the elements, in order.
fn elements(xml: &str) -> Vec<String> {
    let mut reader = Reader::from_str(xml);
    let mut names = Vec::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(element) | Event::Empty(element) => {
                names.push(element.name().as_ref().to_owned());
            }
            Event::Eof => return names,
            _ => {}
        }
    }
}

/// The texts of the elements of a name, or the values of one of their attributes.
fn values(xml: &str, name: &str, attribute: Option<&str>) -> Vec<String> {
    let mut reader = Reader::from_str(xml);
    let mut values = Vec::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(element) | Event::Empty(element) if element.name().as_ref() == name => {
                if let Some(attribute) = attribute {
                    let value = element.try_get_attribute(attribute).unwrap();
                    let value = value.map(|value| unescape(&value.value).unwrap().into_owned());
                    values.extend(value);
                } else {
                    let end = element.to_end().into_owned();
                    let raw = reader.read_text(end.name()).unwrap();
                    values.push(unescape(&raw).unwrap().into_owned());
                }
            }
            Event::Eof => return values,
            _ => {}
        }
    }
}
