//! A tiny domain that shows whether guests run here: `/dev/kvm` may be there and open, and no
//! guest come far. Only one that did something proves it.

use super::domain::domain_type;
use super::writer::{Document, XmlError};
use kilonova_crds::v1alpha1::VirtualizationType;

/// UUID of the probe, the same on every node. One that a crash left behind is replaced by it.
pub const PROBE_UUID: &str = "c0ffee00-7b1d-4f6e-9d2a-6b1c0de5eed5";
/// What the probe writes to its serial port.
pub const PROBE_OUTPUT: u8 = b'K';
/// Size of the probe's disk in bytes: the firmware takes nothing much smaller for a disk.
const DISK_BYTES: usize = 1 << 20;

/// The probe's program, 16-bit and then 32-bit machine code, loaded by the firmware to 0x7c00. It
/// enters protected mode, takes an interrupt, returns from it, and says so. A KVM that only
/// emulates what the processor does not virtualize stops at the return.
#[rustfmt::skip]
const BOOT_SECTOR: &[u8] = &[
    0xfa,                                     // 7c00  cli
    0x31, 0xc0,                               //       xor ax, ax
    0x8e, 0xd8,                               //       mov ds, ax
    0x0f, 0x01, 0x16, 0x50, 0x7c,             //       lgdt [0x7c50]
    0x0f, 0x20, 0xc0,                         //       mov eax, cr0
    0x0c, 0x01,                               //       or al, 1
    0x0f, 0x22, 0xc0,                         //       mov cr0, eax
    0xea, 0x17, 0x7c, 0x08, 0x00,             //       jmp 8:0x7c17
    0x66, 0xb8, 0x10, 0x00,                   // 7c17  mov ax, 16
    0x8e, 0xd8,                               //       mov ds, ax
    0x8e, 0xd0,                               //       mov ss, ax
    0xbc, 0x00, 0x70, 0x00, 0x00,             //       mov esp, 0x7000
    0x0f, 0x01, 0x1d, 0x56, 0x7c, 0x00, 0x00, //       lidt [0x7c56]
    0xcd, 0x00,                               //       int 0
    0x66, 0xba, 0xf8, 0x03,                   //       mov dx, 0x3f8
    0xb0, PROBE_OUTPUT,                       //       mov al, PROBE_OUTPUT
    0xee,                                     //       out dx, al
    0xf4,                                     // 7c34  hlt
    0xeb, 0xfd,                               //       jmp 0x7c34
    0xcf,                                     // 7c37  iret
    0, 0, 0, 0, 0, 0, 0, 0,                   // 7c38  descriptors: none,
    0xff, 0xff, 0, 0, 0, 0x9a, 0xcf, 0,       //       code, all of memory,
    0xff, 0xff, 0, 0, 0, 0x92, 0xcf, 0,       //       data, all of memory
    0x17, 0x00, 0x38, 0x7c, 0x00, 0x00,       // 7c50  their size less 1, and place
    0x07, 0x00, 0x5c, 0x7c, 0x00, 0x00,       // 7c56  the same of the interrupt gates
    0x37, 0x7c, 0x08, 0x00, 0, 0x8e, 0, 0,    // 7c5c  gate 0: 8:0x7c37
];

/// The probe's disk, to be written into a file.
#[must_use]
pub fn probe_disk() -> Vec<u8> {
    let mut disk = vec![0; DISK_BYTES];
    disk[..BOOT_SECTOR.len()].copy_from_slice(BOOT_SECTOR);
    // By this the firmware knows a disk that can be booted.
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

/// The libvirt domain of the probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeXml {
    /// How it is to be run.
    pub virtualization: VirtualizationType,
    /// Canonical name of a q35 machine type.
    pub machine: String,
    /// Path of a file with [`probe_disk`].
    pub disk: String,
    /// File that its serial port writes into.
    pub output: String,
}

impl ProbeXml {
    /// The document.
    ///
    /// # Errors
    /// When a value has a character that XML cannot hold.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        let mut xml = Document::new();
        let kind = domain_type(self.virtualization);
        xml.element("domain", &[("type", kind)], |xml| {
            xml.text("name", &[], "kilonova-probe")?;
            xml.text("uuid", &[], PROBE_UUID)?;
            xml.text("memory", &[("unit", "MiB")], "64")?;
            xml.text("vcpu", &[], "1")?;
            xml.element("os", &[], |xml| {
                let machine = [("arch", "x86_64"), ("machine", self.machine.as_str())];
                xml.text("type", &machine, "hvm")?;
                xml.empty("boot", &[("dev", "hd")])
            })?;
            xml.element("devices", &[], |xml| self.devices(xml))
        })?;
        Ok(xml.finish())
    }

    fn devices(&self, xml: &mut Document) -> Result<(), XmlError> {
        xml.element("disk", &[("type", "file"), ("device", "disk")], |xml| {
            xml.empty("driver", &[("name", "qemu"), ("type", "raw")])?;
            xml.empty("source", &[("file", &self.disk)])?;
            xml.empty("target", &[("dev", "vda"), ("bus", "virtio")])?;
            xml.empty("readonly", &[])
        })?;
        xml.element("serial", &[("type", "file")], |xml| {
            xml.empty("source", &[("path", &self.output)])?;
            xml.empty("target", &[("port", "0")])
        })?;
        xml.empty("controller", &[("type", "usb"), ("model", "none")])?;
        xml.empty("memballoon", &[("model", "none")])
    }
}
