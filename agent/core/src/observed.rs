//! What a node has, as the agent's drivers report it.

/// A libvirt domain's state (`virDomainState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LibvirtState {
    /// Its CPUs run (libvirt's running and blocked).
    Running,
    /// Its CPUs are halted.
    Paused,
    /// The guest is shutting down.
    ShuttingDown,
    /// It is off.
    Shutoff,
    /// It ended by a fault.
    Crashed,
    /// The guest suspended itself to memory (ACPI S3).
    PmSuspended,
}

/// Why a domain is in its state: what of libvirt's reasons makes a difference here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateReason {
    /// Paused because a write failed, as with a full disk (`VIR_DOMAIN_PAUSED_IOERROR`).
    IoError,
    /// Paused by whoever started it (`VIR_DOMAIN_PAUSED_STARTING_UP`, `_USER`).
    User,
    /// Off because the guest shut itself down (`VIR_DOMAIN_SHUTOFF_SHUTDOWN`).
    GuestShutdown,
    /// Off because its power was cut through libvirt (`VIR_DOMAIN_SHUTOFF_DESTROYED`).
    Destroyed,
    /// Off because QEMU died or the guest panicked (`VIR_DOMAIN_SHUTOFF_CRASHED`, `_FAILED`).
    Failed,
    /// Off because its memory was saved (`VIR_DOMAIN_SHUTOFF_SAVED`).
    Saved,
    /// Any other, unknown among them.
    Other,
}

/// One libvirt domain as libvirt reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibvirtDomain {
    /// Its UUID, in lower case with dashes.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: LibvirtState,
    /// Why it is in that state.
    pub reason: StateReason,
    /// Whether it is defined (it is there when off).
    pub persistent: bool,
    /// Whether its memory is saved, to come back with the next start.
    pub managed_save: bool,
    /// The XML element that Kilonova keeps in its `<metadata>`, if it has one.
    pub metadata: Option<String>,
    /// Its virtual CPUs.
    pub vcpus: u32,
    /// Its memory, in bytes.
    pub memory_bytes: u64,
}

/// What libvirt says of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// CPUs of the node.
    pub vcpus: u32,
    /// Memory of the node, in bytes.
    pub memory_bytes: u64,
    /// The CPU model that libvirt found nearest.
    pub cpu_model: String,
    /// Its maker.
    pub cpu_vendor: Option<String>,
    /// `x86_64` or `aarch64`.
    pub architecture: String,
    /// QEMU's machine types, canonical names.
    pub machine_types: Vec<String>,
    /// Whether libvirt offers KVM domains (which does not mean that they run).
    pub kvm_offered: bool,
    /// libvirt's version, `9.0.0`.
    pub libvirt_version: String,
    /// QEMU's version, `7.2.0`.
    pub qemu_version: String,
    /// The name that the node gives itself, for messages.
    pub hostname: String,
}
