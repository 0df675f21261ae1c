//! The network of a node, carried out: netns, links, rules and DHCP servers.
//!
//! Of all crates this alone speaks rtnetlink and runs `nft` and `dnsmasq`. What is to be done is
//! decided in `kilonova_agent_core::network`, by pure functions; here it is observed and executed.
//! Every operation may be repeated, and may be cut off anywhere: the next one carries on from what
//! is there.

mod command;
mod dhcp;
mod error;
mod files;
mod netlink;
mod netns;
mod nft;
mod node;
mod port;
mod probe;
mod segment;
mod switches;
mod watch;

pub use command::CommandError;
pub use dhcp::DhcpError;
pub use error::{Error, Lacks, Several};
pub use files::FilesError;
pub use netlink::NetlinkError;
pub use netns::NetnsError;
pub use watch::Change;

use error::Failures;
use files::RunDirectory;
use ipnet::Ipv4Net;
use kilonova_agent_core::hypervisor::NicInNetwork;
use kilonova_agent_core::network::plan::Step;
use kilonova_agent_core::network::rules::Reach;
use kilonova_agent_core::network::{
    LinkName, Netns, NodeNetwork, PhysicalNetworks, PortDesired, SegmentDesired,
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// What the operator chose for a node's network.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Where the DHCP servers' files and the digests of the rules lie, under `segments/`; lost at
    /// the node's boot, as what they describe is.
    pub run_dir: PathBuf,
    /// Where the addresses between a routed Segment and the node come from; /30 or wider. Never
    /// seen outside the node.
    pub transit_cidr: Ipv4Net,
    /// What no Segment reaches: the cluster's and the nodes' ranges. The node's own addresses and
    /// link-local ones are out of reach without being named.
    pub blocked: Vec<Ipv4Net>,
    /// What Segments reach all the same.
    pub allowed: Vec<Ipv4Net>,
    /// The NICs in physical networks.
    pub physical_networks: PhysicalNetworks,
}

/// The network of this node. One in a process; ended with it, and so are its DHCP servers.
#[derive(Debug)]
pub struct Network {
    run: RunDirectory,
    reach: Reach,
    physical_networks: PhysicalNetworks,
    servers: dhcp::Servers,
    watches: watch::Watches,
    /// One at a time changes what all Segments share: the node's rules, and who has which transit
    /// address.
    shared: tokio::sync::Mutex<()>,
    /// One at a time changes a Segment.
    segments: Mutex<BTreeMap<Netns, Arc<tokio::sync::Mutex<()>>>>,
}

impl Network {
    /// Takes hold of the node's network; changes nothing yet. To be used inside a tokio runtime, in
    /// the netns and mount namespace that libvirtd runs in.
    ///
    /// # Errors
    /// When the run directory cannot be made, or its path has characters that dnsmasq's
    /// configuration cannot.
    pub fn new(options: NetworkOptions) -> Result<Self, Error> {
        let NetworkOptions {
            run_dir,
            transit_cidr,
            blocked,
            allowed,
            physical_networks,
        } = options;
        Ok(Self {
            run: RunDirectory::open(&run_dir)?,
            reach: Reach {
                blocked,
                allowed,
                transit: transit_cidr,
            },
            physical_networks,
            servers: dhcp::Servers::default(),
            watches: watch::Watches::default(),
            shared: tokio::sync::Mutex::default(),
            segments: Mutex::default(),
        })
    }

    /// Starts the DHCP servers of the Segments that are here, as they last were: what guests need of
    /// an agent that has just started, before it knows anything else.
    ///
    /// # Errors
    /// What failed; every Segment was tried.
    pub async fn resume(&self) -> Result<(), Error> {
        let mut failures = Failures::default();
        for netns in netns::list()?.into_iter().filter(netns::exists) {
            let _own = self.lock(&netns).await;
            failures.keep(self.resume_serving(&netns).await);
            self.watches.start(&netns).await;
        }
        failures.result()
    }

    /// Reads what is there: every Segment with its ports, rules and DHCP server.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn observe(&self) -> Result<NodeNetwork, Error> {
        let mut segments = BTreeMap::new();
        for netns in netns::list()? {
            let _own = self.lock(&netns).await;
            // A file without a netns is one whose making, or removal, was cut off.
            let observed = self.observe_segment(&netns).await?.unwrap_or_default();
            segments.insert(netns, observed);
        }
        Ok(NodeNetwork {
            segments,
            loose_taps: self.loose_taps().await?,
        })
    }

    /// Whether the operator named a NIC in a physical network.
    #[must_use]
    pub fn has_nics(&self) -> bool {
        self.physical_networks.iter().next().is_some()
    }

    /// The NICs in physical networks, as they are; one that cannot be looked at is at fault.
    pub async fn nics(&self) -> Vec<NicInNetwork> {
        self.read_nics().await
    }

    /// Reads these Segments, those that are there, and the taps beside libvirtd.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn observe_some(&self, segments: &BTreeSet<Netns>) -> Result<NodeNetwork, Error> {
        let mut observed = NodeNetwork {
            segments: BTreeMap::new(),
            loose_taps: self.loose_taps().await?,
        };
        for netns in segments {
            let _own = self.lock(netns).await;
            if let Some(segment) = self.observe_segment(netns).await? {
                observed.segments.insert(netns.clone(), segment);
            }
        }
        Ok(observed)
    }

    /// Removes a tap that lies beside libvirtd. No error where it is not there.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn remove_tap(&self, tap: &LinkName) -> Result<(), Error> {
        segment::remove_link(None, tap.as_str()).await
    }

    /// Makes a Segment what it should be, or repairs it: netns, bridge, way outwards, rules (those
    /// of its ports too), DHCP server. Ports that are plugged stay plugged, and their flows go on.
    ///
    /// # Errors
    /// The first step that failed; those after it were not tried. Or what the node has not that the
    /// Segment needs; all else was done.
    pub async fn ensure_segment(&self, segment: &SegmentDesired) -> Result<(), Error> {
        let _own = self.lock(&segment.netns).await;
        let mut plan = self.plan_segment(segment).await?;
        if !plan.steps.is_empty() {
            let _shared = self.shared.lock().await;
            // Again, now that no other Segment changes what both see.
            plan = self.plan_segment(segment).await?;
            let fresh = plan.steps.contains(&Step::MakeNetns);
            for step in plan.steps {
                tracing::debug!(netns = %segment.netns, ?step, "network");
                match self.execute(&segment.netns, step, fresh).await {
                    // What is left is the uplink's.
                    Err(Error::Lacks(Lacks(more))) => {
                        plan.lacks.extend(more);
                        break;
                    }
                    done => done?,
                }
            }
        }
        self.watches.start(&segment.netns).await;
        if plan.lacks.is_empty() {
            return Ok(());
        }
        Err(Error::Lacks(Lacks(plan.lacks)))
    }

    /// Makes a port's tap in the netns of libvirtd, for a domain that is about to be started,
    /// paused; one of that name that is left there or in the Segment is removed first. Never to be
    /// called while the domain runs.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn make_tap(&self, port: &PortDesired) -> Result<(), Error> {
        let _own = self.lock(&port.segment).await;
        self.new_tap(port).await
    }

    /// Plugs a port: its rules and its DHCP entry, then its tap into the Segment's netns and on its
    /// bridge. Also repairs one that is plugged already.
    ///
    /// # Errors
    /// When the Segment or the tap is not there, or a step failed.
    pub async fn plug(&self, segment: &SegmentDesired, port: &PortDesired) -> Result<(), Error> {
        let _own = self.lock(&port.segment).await;
        if !netns::exists(&port.segment) {
            return Err(Error::NoSegment(port.segment.clone()));
        }
        self.plug_port(segment, port).await
    }

    /// Removes a port: its tap, wherever it is, its rules, its DHCP entry and its lease. No error
    /// where none of it is there.
    ///
    /// # Errors
    /// What failed; everything was tried.
    pub async fn unplug(&self, segment: &Netns, tap: &LinkName) -> Result<(), Error> {
        let _own = self.lock(segment).await;
        let mut failures = Failures::default();
        self.remove_port(segment, tap, &mut failures).await;
        failures.result()
    }

    /// Removes a Segment and whatever is in it; with the last one that leads out, also what the
    /// node had for all of them. No error where none of it is there.
    ///
    /// # Errors
    /// What failed; everything was tried.
    pub async fn remove_segment(&self, segment: &Netns) -> Result<(), Error> {
        let _own = self.lock(segment).await;
        let _shared = self.shared.lock().await;
        let mut failures = Failures::default();
        self.tear_down(segment, &mut failures).await;
        self.withdraw_node_side(&mut failures).await;
        failures.result()
    }

    /// The turn to change a Segment.
    async fn lock(&self, netns: &Netns) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = self
            .segments
            .lock()
            .entry(netns.clone())
            .or_default()
            .clone();
        turn.lock_owned().await
    }
}
