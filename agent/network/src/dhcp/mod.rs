//! The DHCP servers: one dnsmasq for each Segment that has DHCP, in its netns.
//!
//! They are children of this process and end with it; what they gave stands in their leases' files.

mod server;
mod stale;

use crate::command::{CommandError, run};
use crate::files::{self, FilesError, SegmentFiles};
use crate::netns::{self, NetnsError};
use kilonova_agent_core::network::{BRIDGE, DhcpObserved, Mac, Netns, dhcp};
use parking_lot::Mutex;
use server::Server;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

pub use stale::end_stale;

/// How long a server may take to forget a lease that it is told of.
const RELEASE_PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked whether it has.
const RELEASE_POLL: Duration = Duration::from_millis(10);

/// Why a DHCP server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// Its thread cannot be started.
    #[error("starting a thread")]
    Thread(#[source] io::Error),
    /// It ended, or never said that it serves.
    #[error("dnsmasq does not serve: {0}")]
    NotServing(String),
    /// Its netns.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Its files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A helper program.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// The DHCP servers of this process, by netns.
#[derive(Debug, Default)]
pub struct Servers {
    running: Mutex<BTreeMap<Netns, Arc<Server>>>,
}

impl Servers {
    fn get(&self, netns: &Netns) -> Option<Arc<Server>> {
        self.running.lock().get(netns).cloned()
    }

    /// The server of a Segment, when it serves the netns that is there now.
    pub fn observe(&self, netns: &Netns) -> Option<DhcpObserved> {
        let server = self.get(netns)?;
        let same = netns::id(&netns::path(netns)) == Some(server.netns);
        (same && server.serves()).then(|| server.started_as.clone())
    }

    /// Starts the server of a Segment, in place of the one that runs, and waits until it serves.
    pub async fn serve(
        &self,
        netns: &Netns,
        files: &SegmentFiles,
        configuration: String,
        bridge: u32,
    ) -> Result<(), DhcpError> {
        self.stop(netns).await;
        files::write(&files.dhcp.configuration(), &configuration)?;
        let started_as = DhcpObserved {
            configuration,
            bridge,
        };
        let server = Arc::new(Server::start(netns, files, started_as)?);
        self.running.lock().insert(netns.clone(), server.clone());
        server.ready().await
    }

    /// Ends the server of a Segment, if one runs.
    pub async fn stop(&self, netns: &Netns) {
        let server = self.running.lock().remove(netns);
        if let Some(server) = server {
            server.stop().await;
        }
    }

    /// Makes the server of a Segment read its ports again, when one was changed or removed.
    pub fn reload(&self, netns: &Netns) {
        if let Some(server) = self.get(netns) {
            server.reload();
        }
    }

    /// Ends the leases that no port has, so that the next holder of an address is served at once.
    pub async fn release(&self, netns: &Netns, files: &SegmentFiles) -> Result<(), DhcpError> {
        let stale = stale_leases(files)?;
        if stale.is_empty() {
            return Ok(());
        }
        let Some(server) = self.get(netns) else {
            return Ok(prune_leases(files)?);
        };
        for (mac, ip) in &stale {
            let (mac, ip) = (mac.to_string(), ip.to_string());
            run(Some(netns), "dhcp_release", &[BRIDGE, &ip, &mac], "").await?;
        }
        if !forgotten(files).await? {
            // It prunes its leases whenever it starts.
            server.restart();
            server.ready().await?;
        }
        Ok(())
    }
}

/// The pairs that the ports of a Segment have.
fn pairs(files: &SegmentFiles) -> Result<BTreeSet<(Mac, Ipv4Addr)>, FilesError> {
    let hosts = files.hosts()?;
    Ok(hosts.values().filter_map(|line| dhcp::pair(line)).collect())
}

fn stale_leases(files: &SegmentFiles) -> Result<Vec<(Mac, Ipv4Addr)>, FilesError> {
    let leases = files::read(&files.dhcp.leases())?.unwrap_or_default();
    Ok(dhcp::stale_leases(&leases, &pairs(files)?))
}

/// Takes the leases that no port has out of the file; only while no server runs.
fn prune_leases(files: &SegmentFiles) -> Result<(), FilesError> {
    let path = files.dhcp.leases();
    let Some(leases) = files::read(&path)? else {
        return Ok(());
    };
    let kept = dhcp::kept_leases(&leases, &pairs(files)?);
    if kept == leases {
        return Ok(());
    }
    files::write(&path, &kept)
}

/// Waits until the server has forgotten the leases that no port has.
async fn forgotten(files: &SegmentFiles) -> Result<bool, FilesError> {
    let looks = RELEASE_PATIENCE.as_millis() / RELEASE_POLL.as_millis();
    for _ in 0..looks {
        if stale_leases(files)?.is_empty() {
            return Ok(true);
        }
        tokio::time::sleep(RELEASE_POLL).await;
    }
    Ok(false)
}
