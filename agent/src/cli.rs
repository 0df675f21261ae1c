//! The command line; every flag has an environment variable.

use clap::{Parser, ValueEnum};
use ipnet::{IpNet, Ipv4Net};
use kilonova_agent_core::network::{InvalidNic, NicMapping, PhysicalNetworks};
use kilonova_agent_network::NetworkOptions;
use kilonova_common::http_source::AddressPolicy;
use kilonova_common::telemetry::LogFormat;
use kilonova_crds::Quantity;
use kilonova_crds::quantity::QuantityError;
use kilonova_crds::v1alpha1::Share;
use std::net::SocketAddr;
use std::path::PathBuf;

/// How guests are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VirtType {
    /// KVM where a tiny guest runs under it, emulation elsewhere.
    Auto,
    /// KVM.
    Kvm,
    /// QEMU's emulation.
    Qemu,
}

/// Kilonova's agent: makes this node what its node namespace says.
#[derive(Clone, Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// Kubeconfig to use; absent: the pod's own service account. Its token must be bound to this
    /// Node, or to a pod on it.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Name of this Node.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: String,
    /// Where images and instances are kept; absolute, and readable for QEMU's user.
    #[arg(long, env = "KILONOVA_STATE_DIR", default_value = "/var/lib/kilonova")]
    pub state_dir: PathBuf,
    /// Where files are kept that end with the node's boot.
    #[arg(long, env = "KILONOVA_RUN_DIR", default_value = "/run/kilonova")]
    pub run_dir: PathBuf,
    /// This node's libvirt.
    #[arg(long, env = "KILONOVA_LIBVIRT_URI", default_value = "qemu:///system")]
    pub libvirt_uri: String,
    /// How guests are run.
    #[arg(long, env = "KILONOVA_VIRT_TYPE", value_enum, default_value = "auto")]
    pub virt_type: VirtType,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    #[arg(long, env = "KILONOVA_METRICS_ADDR", default_value = "127.0.0.1:9441")]
    pub metrics_addr: SocketAddr,
    /// How log lines are written.
    #[arg(long, env = "KILONOVA_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// What no instance reaches: the ranges of the cluster and its nodes. This node's own addresses
    /// and link-local ones are out of reach without being named.
    #[arg(long, env = "KILONOVA_BLOCKED_CIDRS", value_delimiter = ',')]
    pub blocked_cidrs: Vec<Ipv4Net>,
    /// What instances reach all the same.
    #[arg(long, env = "KILONOVA_ALLOWED_CIDRS", value_delimiter = ',')]
    pub allowed_cidrs: Vec<Ipv4Net>,
    /// Where the addresses between a network and this node come from; never seen outside the node.
    #[arg(long, env = "KILONOVA_TRANSIT_CIDR", default_value = "100.127.0.0/16")]
    pub transit_cidr: Ipv4Net,

    /// A NIC of this node that is in a physical network: `physnet1=eth1`. May be given again, or
    /// with commas between. One that carries an address or a route, or is a port of another link, is
    /// never taken: the Hypervisor's condition says so.
    #[arg(
        long,
        env = "KILONOVA_PHYSICAL_NETWORKS",
        value_delimiter = ',',
        value_name = "NETWORK=NIC"
    )]
    pub physical_network: Vec<NicMapping>,

    /// Where tenants' images may come from whatever else is said. A `ClusterImage` may name any address.
    #[arg(long, env = "KILONOVA_IMAGE_ALLOW_CIDRS", value_delimiter = ',')]
    pub image_allow_cidr: Vec<IpNet>,
    /// Where they may not come from, such as the cluster's pods, services and nodes. Loopback,
    /// link-local, unspecified and multicast addresses are refused without being named.
    #[arg(long, env = "KILONOVA_IMAGE_DENY_CIDRS", value_delimiter = ',')]
    pub image_deny_cidr: Vec<IpNet>,
    /// CPUs of this node that instances may use; the rest is the pods'. Absent: all of them.
    #[arg(long, env = "KILONOVA_SHARE_VCPUS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub share_vcpus: Option<u32>,
    /// Memory that they may use, such as 32Gi. Absent: all of it.
    #[arg(long, env = "KILONOVA_SHARE_MEMORY", value_parser = size)]
    pub share_memory: Option<Quantity>,
    /// Disk that they may use. Absent: all of the state directory's file system.
    #[arg(long, env = "KILONOVA_SHARE_DISK", value_parser = size)]
    pub share_disk: Option<Quantity>,

    /// How many images are fetched at once.
    #[arg(long, env = "KILONOVA_DOWNLOADS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub downloads: u16,
    /// How many guests are started at once.
    #[arg(long, env = "KILONOVA_STARTS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub starts: u16,
}

impl Cli {
    /// What the node's network is told.
    ///
    /// # Errors
    /// When a physical network or a NIC is named twice.
    pub fn network(&self) -> Result<NetworkOptions, InvalidNic> {
        Ok(NetworkOptions {
            run_dir: self.run_dir.clone(),
            transit_cidr: self.transit_cidr,
            blocked: self.blocked_cidrs.clone(),
            allowed: self.allowed_cidrs.clone(),
            physical_networks: PhysicalNetworks::new(&self.physical_network)?,
        })
    }

    /// The part of this node that instances may use; `None`: all of it.
    pub fn share(&self) -> Option<Share> {
        let share = Share {
            vcpus: self.share_vcpus,
            memory: self.share_memory.clone(),
            disk: self.share_disk.clone(),
        };
        (share != Share::default()).then_some(share)
    }

    /// Where images may come from.
    pub fn address_policy(&self) -> AddressPolicy {
        AddressPolicy {
            allow: self.image_allow_cidr.clone(),
            deny: self.image_deny_cidr.clone(),
        }
    }
}

fn size(text: &str) -> Result<Quantity, QuantityError> {
    let quantity = Quantity::from(text);
    quantity.bytes()?;
    Ok(quantity)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_share_may_name_some_and_nothing_that_is_no_size() {
        let parse = |args: &[&str]| {
            let args = ["agent", "--node-name=n"].iter().chain(args);
            Cli::try_parse_from(args).map(|cli| cli.share())
        };
        assert_eq!(parse(&[]).unwrap(), None);
        let share = parse(&["--share-memory=2Gi"]).unwrap().unwrap();
        assert_eq!((share.vcpus, share.disk), (None, None));
        assert_eq!(share.memory, Some(Quantity::from("2Gi")));
        for wrong in ["--share-vcpus=0", "--share-memory=much", "--share-disk=-1"] {
            assert!(parse(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nics_are_named_once_each_in_either_way() {
        let read = |args: &[&str]| {
            let args = ["agent", "--node-name=n"].iter().chain(args);
            Cli::try_parse_from(args).map(|cli| cli.network().map(|n| n.physical_networks))
        };
        let both = ["--physical-network=a=eth1", "--physical-network=b=eth2"];
        let nics = read(&both).unwrap().unwrap();
        assert_eq!(nics.iter().count(), 2);
        assert_eq!(
            read(&["--physical-network=a=eth1,b=eth2"]).unwrap(),
            Ok(nics)
        );
        assert!(
            read(&["--physical-network=a=eth1,a=eth2"])
                .unwrap()
                .is_err()
        );
        assert!(read(&["--physical-network=eth1"]).is_err());
    }
}
