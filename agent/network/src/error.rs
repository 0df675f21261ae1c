//! What can go wrong with a node's network.

use crate::command::CommandError;
use crate::dhcp::DhcpError;
use crate::files::FilesError;
use crate::netlink::NetlinkError;
use crate::netns::NetnsError;
use kilonova_agent_core::network::plan::Lack;
use kilonova_agent_core::network::rules::MalformedListing;
use kilonova_agent_core::network::{LinkName, Netns};
use std::fmt;
use std::io;

/// Why the network of the node is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A netns.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A link, an address or a route.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A program: `nft` or `ip`.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// What nft lists cannot be read.
    #[error(transparent)]
    Listing(#[from] MalformedListing),
    /// A DHCP server.
    #[error(transparent)]
    Dhcp(#[from] DhcpError),
    /// A file in the run directory.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A switch of the kernel.
    #[error("setting /proc/sys/net/{key} to {value}")]
    Switch {
        /// Which one.
        key: String,
        /// To what.
        value: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The node has not what the Segment needs.
    #[error("{0}")]
    Lacks(Lacks),
    /// The Segment is not on this node.
    #[error("there is no Segment {0} on this node")]
    NoSegment(Netns),
    /// The tap is neither beside libvirtd nor in the Segment.
    #[error("there is no tap {0}")]
    NoTap(LinkName),
    /// Several things went wrong in one teardown.
    #[error("{0}")]
    Several(Several),
}

/// All that the node has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacks(pub Vec<Lack>);

impl fmt::Display for Lacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, lack) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{lack}")?;
        }
        Ok(())
    }
}

/// All that went wrong in one teardown.
#[derive(Debug)]
pub struct Several(pub Vec<Error>);

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
            let mut cause = std::error::Error::source(error);
            while let Some(source) = cause {
                write!(f, ": {source}")?;
                cause = source.source();
            }
        }
        Ok(())
    }
}

/// What fails in a teardown while the rest of it goes on.
#[derive(Debug, Default)]
pub(crate) struct Failures(Vec<Error>);

impl Failures {
    /// Keeps what went wrong; gives the rest.
    pub fn keep<T, E: Into<Error>>(&mut self, done: Result<T, E>) -> Option<T> {
        done.map_err(|error| self.0.push(error.into())).ok()
    }

    /// What it all came to.
    pub fn result(mut self) -> Result<(), Error> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0)),
            _ => Err(Error::Several(Several(self.0))),
        }
    }
}
