//! The network of a node, carried out: netns, links, rules and DHCP servers.
//!
//! Of all crates this alone speaks rtnetlink and runs `nft` and `dnsmasq`. What is to be done is
//! decided in `kilonova_agent_core::network`, by pure functions; here it is observed and executed.
//! Every operation may be repeated, and may be cut off anywhere: the next one carries on from what
//! is there.

mod error;

pub use error::Error;

use ipnet::Ipv4Net;
use kilonova_agent_core::network::{LinkName, Netns, NodeNetwork, PortDesired, SegmentDesired};
use std::path::PathBuf;

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
}

/// The network of this node. One in a process; ended with it, and so are its DHCP servers.
#[derive(Debug)]
pub struct Network {
    options: NetworkOptions,
}

impl Network {
    /// Takes hold of the node's network; changes nothing yet. To be called inside a tokio runtime,
    /// in the netns and mount namespace that libvirtd runs in.
    ///
    /// # Errors
    /// When the run directory cannot be made.
    pub async fn new(options: NetworkOptions) -> Result<Self, Error> {
        Ok(Self { options })
    }

    /// Reads what is there: every Segment with its ports, rules and DHCP server.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn observe(&self) -> Result<NodeNetwork, Error> {
        Err(Error::NotBuilt)
    }

    /// Makes a Segment what it should be, or repairs it: netns, bridge, way outwards, rules, DHCP
    /// server. Ports that are plugged stay plugged, and their flows go on.
    ///
    /// # Errors
    /// The first step that failed; those after it were not tried.
    pub async fn ensure_segment(&self, segment: &SegmentDesired) -> Result<(), Error> {
        let _ = segment;
        Err(Error::NotBuilt)
    }

    /// Makes a port's tap in the netns of libvirtd, for a domain that is about to be started,
    /// paused; one of that name that is left there or in the Segment is removed first. Never to be
    /// called while the domain runs.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn make_tap(&self, port: &PortDesired) -> Result<(), Error> {
        let _ = port;
        Err(Error::NotBuilt)
    }

    /// Plugs a port: its rules and its DHCP entry, then its tap into the Segment's netns and on its
    /// bridge. Also repairs one that is plugged already.
    ///
    /// # Errors
    /// When the Segment or the tap is not there, or a step failed.
    pub async fn plug(&self, segment: &SegmentDesired, port: &PortDesired) -> Result<(), Error> {
        let _ = (segment, port);
        Err(Error::NotBuilt)
    }

    /// Removes a port: its tap, wherever it is, its rules, its DHCP entry and its lease. No error
    /// where none of it is there.
    ///
    /// # Errors
    /// What failed; everything was tried.
    pub async fn unplug(&self, segment: &Netns, tap: &LinkName) -> Result<(), Error> {
        let _ = (segment, tap);
        Err(Error::NotBuilt)
    }

    /// Removes a Segment and whatever is in it. No error where none of it is there.
    ///
    /// # Errors
    /// What failed; everything was tried.
    pub async fn remove_segment(&self, segment: &Netns) -> Result<(), Error> {
        let _ = (segment, &self.options);
        Err(Error::NotBuilt)
    }
}
