//! The domain of an instance.

use super::writer::{Document, XmlError};
use kilonova_crds::v1alpha1::VirtualizationType;

/// Root ports, so that as many devices can be plugged while the guest runs: q35 has no slots of its
/// own for that.
const PCIE_ROOT_PORTS: usize = 16;
/// QEMU's cache of translated code. Its default grows past 1 GiB a guest.
const TCG_CACHE_MIB: &str = "64";

/// How the root disk's blocks are cached on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMode {
    /// Not at all: what the guest flushed is on the disk, and nothing is cached twice.
    None,
    /// In the page cache, for file systems without direct I/O. Flushes are still carried out.
    Writeback,
}

/// A network interface on a tap that exists beside libvirt and that it leaves alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name of the tap.
    pub tap: String,
    /// MAC that the guest sees.
    pub mac: String,
    /// Largest packet, in bytes.
    pub mtu: u32,
}

/// A libvirt domain of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainXml {
    /// Hardware virtualization or emulation.
    pub virtualization: VirtualizationType,
    /// Its name in libvirt, unique on the node.
    pub name: String,
    /// Its UUID, which is SMBIOS' too.
    pub uuid: String,
    /// What people call it: `namespace/name`.
    pub title: String,
    /// The element of [`crate::owner`] for `<metadata>`, already well-formed XML.
    pub metadata: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in bytes, rounded up to KiB.
    pub memory_bytes: u64,
    /// Canonical name of a q35 machine type: `pc-q35-7.2`. It must not change under a guest.
    pub machine: String,
    /// Path of the root disk, in qcow2.
    pub root_disk: String,
    /// How the root disk is cached.
    pub cache: CacheMode,
    /// Path of the config drive, an ISO image.
    pub config_drive: String,
    /// Network interfaces, in the guest's order.
    pub interfaces: Vec<Interface>,
    /// File that virtlogd keeps of the serial console, bounded in size as virtlogd is configured.
    pub console_log: String,
}

impl DomainXml {
    /// The document.
    ///
    /// # Errors
    /// When a value has a character that XML cannot hold.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        let mut xml = Document::new();
        let kind = domain_type(self.virtualization);
        xml.element("domain", &[("type", kind)], |xml| {
            self.identity(xml)?;
            self.machine(xml)?;
            xml.element("devices", &[], |xml| {
                self.disks(xml)?;
                controllers(xml)?;
                self.interfaces(xml)?;
                self.console(xml)?;
                small_devices(xml)
            })
        })?;
        Ok(xml.finish())
    }

    fn identity(&self, xml: &mut Document) -> Result<(), XmlError> {
        xml.text("name", &[], &self.name)?;
        xml.text("uuid", &[], &self.uuid)?;
        xml.text("title", &[], &self.title)?;
        xml.element("metadata", &[], |xml| xml.raw("metadata", &self.metadata))?;
        let memory = self.memory_bytes.div_ceil(1024).to_string();
        xml.text("memory", &[("unit", "KiB")], &memory)?;
        xml.text("vcpu", &[], &self.vcpus.to_string())?;
        // cloud-init's OpenStack data source is found by these.
        let system = [
            ("manufacturer", "OpenStack Foundation"),
            ("product", "OpenStack Nova"),
            ("serial", &self.uuid),
            ("uuid", &self.uuid),
            ("family", "Virtual Machine"),
        ];
        xml.element("sysinfo", &[("type", "smbios")], |xml| {
            xml.element("system", &[], |xml| {
                system
                    .iter()
                    .try_for_each(|(name, value)| xml.text("entry", &[("name", name)], value))
            })
        })
    }

    fn machine(&self, xml: &mut Document) -> Result<(), XmlError> {
        xml.element("os", &[], |xml| {
            let machine = [("arch", "x86_64"), ("machine", self.machine.as_str())];
            xml.text("type", &machine, "hvm")?;
            xml.empty("boot", &[("dev", "hd")])?;
            xml.empty("smbios", &[("mode", "sysinfo")])
        })?;
        let emulated = self.virtualization == VirtualizationType::Qemu;
        xml.element("features", &[], |xml| {
            xml.empty("acpi", &[])?;
            xml.empty("apic", &[])?;
            if emulated {
                xml.element("tcg", &[], |xml| {
                    xml.text("tb-cache", &[("unit", "MiB")], TCG_CACHE_MIB)
                })?;
            }
            Ok(())
        })?;
        // host-passthrough and host-model's own CPU do not exist under emulation.
        let mode = if emulated { "maximum" } else { "host-model" };
        xml.empty("cpu", &[("mode", mode)])?;
        xml.element("clock", &[("offset", "utc")], |xml| {
            xml.empty("timer", &[("name", "pit"), ("tickpolicy", "delay")])?;
            xml.empty("timer", &[("name", "rtc"), ("tickpolicy", "catchup")])?;
            xml.empty("timer", &[("name", "hpet"), ("present", "no")])
        })?;
        xml.text("on_poweroff", &[], "destroy")?;
        xml.text("on_reboot", &[], "restart")?;
        xml.text("on_crash", &[], "destroy")?;
        // A guest that suspended itself would wait for a key that nobody can press.
        xml.element("pm", &[], |xml| {
            xml.empty("suspend-to-mem", &[("enabled", "no")])?;
            xml.empty("suspend-to-disk", &[("enabled", "no")])
        })
    }

    fn disks(&self, xml: &mut Document) -> Result<(), XmlError> {
        let cache = match self.cache {
            CacheMode::None => "none",
            CacheMode::Writeback => "writeback",
        };
        xml.element("disk", &[("type", "file"), ("device", "disk")], |xml| {
            let driver = [
                ("name", "qemu"),
                ("type", "qcow2"),
                ("cache", cache),
                ("error_policy", "enospace"),
                ("discard", "unmap"),
            ];
            xml.empty("driver", &driver)?;
            xml.empty("source", &[("file", &self.root_disk)])?;
            xml.empty("target", &[("dev", "vda"), ("bus", "virtio")])
        })?;
        // On virtio-scsi: Debian's cloud kernel has no AHCI, and a virtio disk would move vdX.
        xml.element("disk", &[("type", "file"), ("device", "cdrom")], |xml| {
            xml.empty("driver", &[("name", "qemu"), ("type", "raw")])?;
            xml.empty("source", &[("file", &self.config_drive)])?;
            xml.empty("target", &[("dev", "sda"), ("bus", "scsi")])?;
            xml.empty("readonly", &[])
        })
    }

    fn interfaces(&self, xml: &mut Document) -> Result<(), XmlError> {
        self.interfaces.iter().try_for_each(|interface| {
            xml.element("interface", &[("type", "ethernet")], |xml| {
                xml.empty("mac", &[("address", &interface.mac)])?;
                xml.empty("target", &[("dev", &interface.tap), ("managed", "no")])?;
                xml.empty("model", &[("type", "virtio")])?;
                xml.empty("mtu", &[("size", &interface.mtu.to_string())])?;
                // No network boot: the option ROM would only cost time and a package.
                xml.empty("rom", &[("enabled", "no")])
            })
        })
    }

    fn console(&self, xml: &mut Document) -> Result<(), XmlError> {
        xml.element("serial", &[("type", "pty")], |xml| {
            xml.empty("log", &[("file", &self.console_log), ("append", "on")])?;
            xml.empty("target", &[("port", "0")])
        })?;
        xml.element("console", &[("type", "pty")], |xml| {
            xml.empty("target", &[("type", "serial"), ("port", "0")])
        })
    }
}

/// libvirt's word for how a domain is run.
pub(super) fn domain_type(virtualization: VirtualizationType) -> &'static str {
    match virtualization {
        VirtualizationType::Kvm => "kvm",
        VirtualizationType::Qemu => "qemu",
    }
}

fn controllers(xml: &mut Document) -> Result<(), XmlError> {
    let pcie = |xml: &mut Document, index: usize, model| {
        let index = index.to_string();
        let attributes = [("type", "pci"), ("index", &index), ("model", model)];
        xml.empty("controller", &attributes)
    };
    pcie(xml, 0, "pcie-root")?;
    (1..=PCIE_ROOT_PORTS).try_for_each(|index| pcie(xml, index, "pcie-root-port"))?;
    xml.empty("controller", &[("type", "scsi"), ("model", "virtio-scsi")])?;
    xml.empty("controller", &[("type", "usb"), ("model", "none")])
}

fn small_devices(xml: &mut Document) -> Result<(), XmlError> {
    xml.element("rng", &[("model", "virtio")], |xml| {
        xml.text("backend", &[("model", "random")], "/dev/urandom")
    })?;
    xml.element("memballoon", &[("model", "virtio")], |xml| {
        xml.empty("stats", &[("period", "10")])
    })
}
