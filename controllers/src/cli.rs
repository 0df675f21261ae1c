//! The command line; every flag has an environment variable.

use crate::check::CheckArgs;
use clap::{Parser, Subcommand};
use ipnet::IpNet;
use kilonova_common::http_source::AddressPolicy;
use kilonova_common::telemetry::LogFormat;
use kilonova_controllers_core::cluster::Settings;
use kilonova_controllers_core::host_state::{Defaults, Ratio};
use kilonova_controllers_core::placement::Weights;
use kilonova_controllers_core::resources::Resources;
use kilonova_crds::Quantity;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Kilonova's controllers: place Instances, dispatch them to their nodes, and say how they are.
#[derive(Clone, Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// Another task than running the controllers.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Kubeconfig to use; absent: the pod's own service account.
    #[arg(long, env = "KUBECONFIG", global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of this release, where the leader's Lease is.
    #[arg(
        long,
        env = "KILONOVA_NAMESPACE",
        default_value = "kilonova-system",
        global = true
    )]
    pub namespace: String,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    #[arg(long, env = "KILONOVA_METRICS_ADDR", default_value = "0.0.0.0:9440")]
    pub metrics_addr: SocketAddr,
    /// How log lines are written.
    #[arg(long, env = "KILONOVA_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// This process's name in the Lease, unique among all that ever were; absent: the pod's or the
    /// host's name, and when the process started.
    #[arg(long, env = "KILONOVA_IDENTITY")]
    pub identity: Option<String>,
    /// Name of this pod.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: Option<String>,
    /// Id of this cluster, by which agents know their own domains; absent: uid of kube-system.
    #[arg(long, env = "KILONOVA_CLUSTER_ID")]
    pub cluster_id: Option<String>,
    /// How many objects are worked on at once.
    #[arg(long, env = "KILONOVA_WORKERS", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: u16,

    /// How long the leader's Lease holds without a renewal, in seconds.
    #[arg(long, env = "KILONOVA_LEASE_DURATION_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(3..=3600))]
    pub lease_duration_seconds: u32,
    /// How often the leader renews it, in seconds; less than half of the duration.
    #[arg(long, env = "KILONOVA_LEASE_RENEW_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1800))]
    pub lease_renew_seconds: u32,
    /// How long an agent's Lease may go without a renewal before its node counts as lost, in seconds.
    #[arg(long, env = "KILONOVA_HYPERVISOR_STALE_SECONDS", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub hypervisor_stale_seconds: u32,
    /// How long the disk of an abandoned domain is kept, in seconds, or `never` to remove none.
    #[arg(
        long,
        env = "KILONOVA_ABANDONED_RETENTION_SECONDS",
        default_value = "86400"
    )]
    pub abandoned_retention_seconds: Retention,

    /// How many image headers are read at once.
    #[arg(long, env = "KILONOVA_IMAGE_READERS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub image_readers: u16,
    /// Where tenants' images may come from whatever else is said. A `ClusterImage` may name any address.
    #[arg(long, env = "KILONOVA_IMAGE_ALLOW_CIDRS", value_delimiter = ',')]
    pub image_allow_cidr: Vec<IpNet>,
    /// Where they may not come from, such as the cluster's pods, services and nodes. Loopback,
    /// link-local, unspecified and multicast addresses are refused without being named.
    #[arg(long, env = "KILONOVA_IMAGE_DENY_CIDRS", value_delimiter = ',')]
    pub image_deny_cidr: Vec<IpNet>,

    /// Placement.
    #[command(flatten)]
    pub placement: PlacementArgs,
}

/// What the program does instead of running the controllers.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Say whether the installation is ready, and if not, why; end with 1 then.
    Check(CheckArgs),
}

/// What placement counts with.
#[derive(Clone, Debug, clap::Args)]
pub struct PlacementArgs {
    /// Virtual CPUs promised for each CPU, where a Hypervisor says nothing.
    #[arg(long, env = "KILONOVA_OVERCOMMIT_CPU", default_value = "4.0")]
    pub overcommit_cpu: RatioArg,
    /// Memory promised for each byte, where a Hypervisor says nothing.
    #[arg(long, env = "KILONOVA_OVERCOMMIT_MEMORY", default_value = "1.0")]
    pub overcommit_memory: RatioArg,
    /// Disk promised for each byte, where a Hypervisor says nothing.
    #[arg(long, env = "KILONOVA_OVERCOMMIT_DISK", default_value = "1.0")]
    pub overcommit_disk: RatioArg,
    /// CPUs kept for a node itself, where its Hypervisor says nothing.
    #[arg(long, env = "KILONOVA_RESERVED_VCPUS", default_value_t = 0)]
    pub reserved_vcpus: u32,
    /// Memory kept for a node itself, where its Hypervisor says nothing.
    #[arg(long, env = "KILONOVA_RESERVED_MEMORY", default_value = "512Mi")]
    pub reserved_memory: BytesArg,
    /// Disk kept for a node itself, where its Hypervisor says nothing.
    #[arg(long, env = "KILONOVA_RESERVED_DISK", default_value = "0")]
    pub reserved_disk: BytesArg,
    /// How much free memory counts; negative stacks instead of spreading.
    #[arg(long, env = "KILONOVA_WEIGHT_RAM", default_value_t = Weights::default().ram, allow_negative_numbers = true)]
    pub weight_ram: f64,
    /// How much free virtual CPUs count.
    #[arg(long, env = "KILONOVA_WEIGHT_CPU", default_value_t = Weights::default().cpu, allow_negative_numbers = true)]
    pub weight_cpu: f64,
    /// How much free disk counts.
    #[arg(long, env = "KILONOVA_WEIGHT_DISK", default_value_t = Weights::default().disk, allow_negative_numbers = true)]
    pub weight_disk: f64,
    /// How much the number of instances there counts; positive prefers full hosts.
    #[arg(long, env = "KILONOVA_WEIGHT_INSTANCES", default_value_t = Weights::default().instances, allow_negative_numbers = true)]
    pub weight_instances: f64,
    /// How much preferred affinity counts.
    #[arg(long, env = "KILONOVA_WEIGHT_AFFINITY", default_value_t = Weights::default().affinity, allow_negative_numbers = true)]
    pub weight_affinity: f64,
    /// How much taints with effect `PreferNoSchedule` count.
    #[arg(long, env = "KILONOVA_WEIGHT_TAINTS", default_value_t = Weights::default().taints, allow_negative_numbers = true)]
    pub weight_taints: f64,
}

/// A value of the command line has not the form that it needs.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// No ratio.
    #[error("a ratio is a decimal number from 0.001 to 999.999, such as 4.0")]
    Ratio,
    /// No size.
    #[error(transparent)]
    Size(#[from] kilonova_crds::quantity::QuantityError),
    /// No retention.
    #[error("a number of seconds, or `never`")]
    Retention,
}

/// A ratio, in thousandths.
#[derive(Clone, Copy, Debug)]
pub struct RatioArg(Ratio);

impl FromStr for RatioArg {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |s: &str| (1..=3).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(ValueError::Ratio);
        }
        let number = format!("{whole}{fraction:0<3}").parse();
        number
            .ok()
            .filter(|thousandths| *thousandths > 0)
            .map(|thousandths| Self(Ratio(thousandths)))
            .ok_or(ValueError::Ratio)
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug)]
pub struct BytesArg(u64);

impl FromStr for BytesArg {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        Ok(Self(Quantity::from(text).bytes()?))
    }
}

/// How long abandoned disks are kept; `None`: for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention(pub Option<Duration>);

impl FromStr for Retention {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "never" {
            return Ok(Self(None));
        }
        let seconds = text.parse::<u32>().map_err(|_| ValueError::Retention)?;
        Ok(Self(Some(Duration::from_secs(seconds.into()))))
    }
}

impl PlacementArgs {
    /// As the core takes it.
    pub fn settings(&self) -> Settings {
        Settings {
            defaults: Defaults {
                cpu: self.overcommit_cpu.0,
                memory: self.overcommit_memory.0,
                disk: self.overcommit_disk.0,
                reserved: Resources {
                    vcpus: self.reserved_vcpus.into(),
                    memory: self.reserved_memory.0,
                    disk: self.reserved_disk.0,
                },
            },
            weights: Weights {
                ram: self.weight_ram,
                cpu: self.weight_cpu,
                disk: self.weight_disk,
                instances: self.weight_instances,
                affinity: self.weight_affinity,
                taints: self.weight_taints,
            },
        }
    }
}

impl Cli {
    /// This process's name in the Lease. In a pod every process has the same id, and a container
    /// that is started again the same pod: the time tells them apart.
    pub fn identity(&self, started: SystemTime) -> String {
        self.identity.clone().unwrap_or_else(|| {
            let host = || {
                let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
                name.unwrap_or_default().trim().to_owned()
            };
            let name = self.pod_name.clone().unwrap_or_else(host);
            let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
            format!("{name}_{}_{:x}", std::process::id(), since.as_micros())
        })
    }

    /// Where images may come from.
    pub fn address_policy(&self) -> AddressPolicy {
        AddressPolicy {
            allow: self.image_allow_cidr.clone(),
            deny: self.image_deny_cidr.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_defaults_are_the_cores() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["controllers"]);
        assert_eq!(cli.placement.settings(), Settings::default());
        let day = Retention(Some(Duration::from_hours(24)));
        assert_eq!(cli.abandoned_retention_seconds, day);
    }

    #[test]
    fn two_lives_of_a_pod_have_two_names() {
        let cli = Cli::parse_from(["controllers", "--pod-name", "controllers-x"]);
        let at = |micros| cli.identity(UNIX_EPOCH + Duration::from_micros(micros));
        assert!(at(1).starts_with("controllers-x_"), "{}", at(1));
        assert_ne!(at(1), at(2));
        let given = Cli::parse_from(["controllers", "--identity", "me"]);
        assert_eq!(given.identity(UNIX_EPOCH), "me");
    }

    #[test]
    fn values_are_checked() {
        let ratio = |text: &str| text.parse::<RatioArg>().map(|r| r.0.0).ok();
        assert_eq!(ratio("1.5"), Some(1500));
        assert_eq!(ratio("0.025"), Some(25));
        assert_eq!(ratio("16"), Some(16_000));
        for bad in ["0", "0.0", "-1", "1.", ".5", "1e3", "1000", "0.0001", ""] {
            assert_eq!(ratio(bad), None, "{bad}");
        }
        assert_eq!("never".parse::<Retention>().unwrap(), Retention(None));
        assert!("soon".parse::<Retention>().is_err());
        assert!("1Ti".parse::<BytesArg>().is_ok_and(|b| b.0 == 1 << 40));
    }
}
