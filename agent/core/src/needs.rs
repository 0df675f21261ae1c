//! What a node needs beside a libvirt that answers, and what is said of what it lacks: a sentence
//! for each, in the condition that tells the scheduler which instances are not to come.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kilonova_crds::Condition;
use kilonova_crds::condition::types;
use kilonova_crds::v1alpha1::VirtualizationType;

/// Room that the state directory must have, in bytes: a config drive, a record and a log for some
/// instances. What their disks need is reckoned by the scheduler.
pub const ROOM: u64 = 64 << 20;

/// What is said where all is there, and of guests that run under KVM.
const COMPLETE: &str = "Complete";
/// What is said where guests run without KVM.
const EMULATED: &str = "Emulated";
/// What is said where something is missing.
const MISSING: &str = "Missing";

/// A program that the agent calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// Its name, looked for on the `PATH`.
    pub name: &'static str,
    /// Debian's package that has it.
    pub package: &'static str,
}

const fn program(name: &'static str, package: &'static str) -> Program {
    Program { name, package }
}

/// What makes disks and config drives.
pub const STORAGE_PROGRAMS: [Program; 3] = [
    program("qemu-img", "qemu-utils"),
    program("genisoimage", "genisoimage"),
    program("prlimit", "util-linux"),
];

/// What makes networks.
pub const NETWORK_PROGRAMS: [Program; 5] = [
    program("ip", "iproute2"),
    program("nft", "nftables"),
    program("dnsmasq", "dnsmasq-base"),
    program("dhcp_release", "dnsmasq-utils"),
    program("setpriv", "util-linux"),
];

/// Something of the kernel's that networks are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Network namespaces.
    Netns,
    /// Bridges.
    Bridge,
    /// Pairs of links.
    Veth,
    /// Taps.
    Tap,
    /// 802.1Q links.
    Vlan,
    /// macvlan links.
    Macvlan,
    /// nftables, with what the agent's rules say.
    Rules,
}

/// Something that a node needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A state directory that can be written.
    StateDirectory,
    /// Room in it.
    Room,
    /// A QEMU that libvirt knows to use.
    Emulator,
    /// KVM, where the operator asked for it.
    Kvm,
    /// A program for disks and config drives.
    StorageProgram(Program),
    /// A program for networks.
    NetworkProgram(Program),
    /// Something of the kernel's.
    Kernel(Feature),
}

/// Something that a node lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What.
    pub need: Need,
    /// What was seen of it; empty where there is no more to say than that it is not there.
    pub why: String,
}

impl Need {
    /// The condition that is False without it.
    #[must_use]
    pub fn condition(self) -> &'static str {
        match self {
            Self::StateDirectory
            | Self::Room
            | Self::Emulator
            | Self::Kvm
            | Self::StorageProgram(_) => types::GUESTS_READY,
            Self::Kernel(Feature::Vlan) => types::VLANS_READY,
            Self::Kernel(Feature::Macvlan) => types::FLAT_NETWORKS_READY,
            Self::NetworkProgram(_)
            | Self::Kernel(
                Feature::Netns | Feature::Bridge | Feature::Veth | Feature::Tap | Feature::Rules,
            ) => types::NETWORKS_READY,
        }
    }

    fn missing(self) -> String {
        match self {
            Self::StateDirectory => "the state directory cannot be written".to_owned(),
            Self::Room => format!("the state directory has less than {} MiB free", ROOM >> 20),
            Self::Emulator => "libvirt knows no QEMU that it can use".to_owned(),
            Self::Kvm => "KVM was asked for and is not offered".to_owned(),
            Self::StorageProgram(Program { name, .. })
            | Self::NetworkProgram(Program { name, .. }) => {
                format!("there is no program {name} where the agent runs")
            }
            Self::Kernel(feature) => format!("the kernel {}", feature.missing()),
        }
    }

    fn remedy(self) -> String {
        let remedy = match self {
            Self::StateDirectory => "make it writable for root, or name another (stateDir)",
            Self::Room => "free some, or name a directory on a larger file system (stateDir)",
            Self::Emulator => "install QEMU (qemu-system-x86) on this node",
            Self::Kvm => {
                "modprobe kvm_intel or kvm_amd and enable virtualization in the firmware, or let virtType be auto"
            }
            Self::StorageProgram(Program { package, .. })
            | Self::NetworkProgram(Program { package, .. }) => {
                return format!("install the package {package}, or run the agent from its image");
            }
            Self::Kernel(feature) => feature.remedy(),
        };
        remedy.to_owned()
    }
}

impl Feature {
    fn missing(self) -> &'static str {
        match self {
            Self::Netns => "makes no network namespace",
            Self::Bridge => "makes no bridge",
            Self::Veth => "makes no pair of links",
            Self::Tap => "makes no tap",
            Self::Vlan => "makes no 802.1Q link",
            Self::Macvlan => "makes no macvlan link",
            Self::Rules => "does not take the agent's packet filter",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Netns => {
                "take a kernel with CONFIG_NET_NS, and let user.max_net_namespaces be above 0"
            }
            Self::Bridge => "modprobe bridge",
            Self::Veth => "modprobe veth",
            Self::Tap => "modprobe tun",
            Self::Vlan => "modprobe 8021q",
            Self::Macvlan => "modprobe macvlan",
            Self::Rules => {
                "modprobe -a nf_tables nft_ct nft_chain_nat nft_masq nft_fib_inet nft_reject_inet"
            }
        }
    }

    /// What makes its absence no news: without it this one cannot be tried.
    fn tried_with(self) -> Option<&'static str> {
        match self {
            Self::Tap => Some("ip"),
            Self::Rules => Some("nft"),
            Self::Netns | Self::Bridge | Self::Veth | Self::Vlan | Self::Macvlan => None,
        }
    }
}

impl Lack {
    /// What is missing, what was seen, and what helps.
    #[must_use]
    pub fn sentence(&self) -> String {
        let (missing, remedy) = (self.need.missing(), self.need.remedy());
        if self.why.is_empty() {
            format!("{missing}: {remedy}")
        } else {
            format!("{missing} ({}): {remedy}", self.why)
        }
    }
}

/// The conditions that say what is lacking, all of them, in order. `physical_networks`: the operator
/// named a NIC. `virtualization`: how guests run, where that is known.
#[must_use]
pub fn conditions(
    lacks: &[Lack],
    physical_networks: bool,
    virtualization: Option<VirtualizationType>,
    now: &Time,
) -> Vec<Condition> {
    let uplinks = [types::VLANS_READY, types::FLAT_NETWORKS_READY];
    let uplinks = uplinks.into_iter().filter(|_| physical_networks);
    let all = [types::GUESTS_READY, types::NETWORKS_READY];
    let condition = |type_: &str| {
        let of = |lack: &&Lack| lack.need.condition() == type_ && !untried(lack, lacks);
        let sentences: Vec<_> = lacks.iter().filter(of).map(Lack::sentence).collect();
        let emulated =
            type_ == types::GUESTS_READY && virtualization == Some(VirtualizationType::Qemu);
        let (reason, message) = match (sentences.is_empty(), emulated) {
            (false, _) => (MISSING, sentences.join("; ")),
            (true, true) => (EMULATED, "guests run without KVM, and slowly".to_owned()),
            (true, false) => (COMPLETE, String::new()),
        };
        Condition {
            type_: type_.to_owned(),
            status: sentences.is_empty().into(),
            reason: reason.to_owned(),
            message,
            last_transition_time: now.clone(),
            observed_generation: None,
        }
    };
    all.into_iter().chain(uplinks).map(condition).collect()
}

/// Whether it only says that a program is missing, which is said already.
fn untried(lack: &Lack, all: &[Lack]) -> bool {
    let Need::Kernel(feature) = lack.need else {
        return false;
    };
    let tool = feature.tried_with();
    let missing = |lack: &Lack| match lack.need {
        Need::NetworkProgram(program) => Some(program.name) == tool,
        _ => false,
    };
    tool.is_some() && all.iter().any(missing)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;
    use kilonova_crds::ConditionStatus;
    use kilonova_crds::condition::find;

    fn lack(need: Need, why: &str) -> Lack {
        let why = why.to_owned();
        Lack { need, why }
    }

    fn told(lacks: &[Lack], physical_networks: bool) -> Vec<Condition> {
        let kvm = Some(VirtualizationType::Kvm);
        conditions(lacks, physical_networks, kvm, &Time(Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn each_lack_has_its_condition_and_its_sentence() {
        let [storage, ..] = STORAGE_PROGRAMS;
        let network = NETWORK_PROGRAMS[2];
        let rows = [
            (
                lack(Need::StorageProgram(storage), ""),
                types::GUESTS_READY,
                "there is no program qemu-img where the agent runs: install the package qemu-utils, or run the agent from its image",
            ),
            (
                lack(Need::StateDirectory, "read-only file system"),
                types::GUESTS_READY,
                "the state directory cannot be written (read-only file system): make it writable for root, or name another (stateDir)",
            ),
            (
                lack(Need::Room, ""),
                types::GUESTS_READY,
                "the state directory has less than 64 MiB free: free some, or name a directory on a larger file system (stateDir)",
            ),
            (
                lack(Need::Emulator, "no emulator"),
                types::GUESTS_READY,
                "libvirt knows no QEMU that it can use (no emulator): install QEMU (qemu-system-x86) on this node",
            ),
            (
                lack(Need::Kvm, ""),
                types::GUESTS_READY,
                "KVM was asked for and is not offered: modprobe kvm_intel or kvm_amd and enable virtualization in the firmware, or let virtType be auto",
            ),
            (
                lack(Need::NetworkProgram(network), ""),
                types::NETWORKS_READY,
                "there is no program dnsmasq where the agent runs: install the package dnsmasq-base, or run the agent from its image",
            ),
            (
                lack(Need::Kernel(Feature::Bridge), "not supported"),
                types::NETWORKS_READY,
                "the kernel makes no bridge (not supported): modprobe bridge",
            ),
            (
                lack(Need::Kernel(Feature::Tap), "x"),
                types::NETWORKS_READY,
                "the kernel makes no tap (x): modprobe tun",
            ),
            (
                lack(Need::Kernel(Feature::Vlan), "x"),
                types::VLANS_READY,
                "the kernel makes no 802.1Q link (x): modprobe 8021q",
            ),
            (
                lack(Need::Kernel(Feature::Macvlan), "x"),
                types::FLAT_NETWORKS_READY,
                "the kernel makes no macvlan link (x): modprobe macvlan",
            ),
        ];
        for (lack, type_, sentence) in rows {
            let all = told(std::slice::from_ref(&lack), true);
            assert_eq!(all.len(), 4);
            for condition in all {
                if condition.type_ == type_ {
                    assert_eq!(condition.status, ConditionStatus::False);
                    assert_eq!(
                        (condition.reason.as_str(), condition.message.as_str()),
                        ("Missing", sentence)
                    );
                } else {
                    assert_eq!(condition.status, ConditionStatus::True, "{lack:?}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_tried_without_a_program_is_not_said_to_be_missing() {
        let nft = NETWORK_PROGRAMS[1];
        let both = [
            lack(Need::NetworkProgram(nft), ""),
            lack(Need::Kernel(Feature::Rules), "no such file"),
        ];
        let all = told(&both, false);
        let message = &find(&all, types::NETWORKS_READY).unwrap().message;
        assert!(message.contains("no program nft") && !message.contains("kernel"));
        assert!(
            find(&told(&both[1..], false), types::NETWORKS_READY)
                .unwrap()
                .message
                .contains("kernel")
        );
    }

    #[test]
    fn all_lacks_of_a_condition_are_told_and_uplinks_only_where_there_are_nics() {
        let both = [
            lack(Need::Kernel(Feature::Bridge), ""),
            lack(Need::Kernel(Feature::Veth), ""),
        ];
        let all = told(&both, false);
        assert_eq!(all.len(), 2);
        let message = &find(&all, types::NETWORKS_READY).unwrap().message;
        assert!(message.contains("modprobe bridge; the kernel"), "{message}");
    }

    #[test]
    fn guests_without_kvm_are_ready_and_called_slow() {
        let now = Time(Timestamp::UNIX_EPOCH);
        let emulated = conditions(&[], false, Some(VirtualizationType::Qemu), &now);
        let guests = find(&emulated, types::GUESTS_READY).unwrap();
        assert_eq!(guests.status, ConditionStatus::True);
        assert_eq!(guests.reason, "Emulated");
        let unknown = conditions(&[], false, None, &now);
        assert_eq!(
            find(&unknown, types::GUESTS_READY).unwrap().reason,
            "Complete"
        );
    }
}
