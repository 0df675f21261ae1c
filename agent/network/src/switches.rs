//! The kernel's switches under `/proc/sys/net`: those of the netns of who looks.

use crate::error::Error;
use crate::netns::{self, NetnsError};
use kilonova_agent_core::network::Netns;
use kilonova_agent_core::network::plan;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

fn path(key: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(key)
}

/// Reads the switches that a Segment needs, those that the kernel has.
pub async fn of_segment(netns: &Netns) -> Result<BTreeMap<String, String>, NetnsError> {
    netns::within(Some(netns), || {
        let read = |key: &str| std::fs::read_to_string(path(key)).ok();
        plan::switches()
            .filter_map(|key| Some((key.to_owned(), read(key)?.trim().to_owned())))
            .collect()
    })
    .await
}

/// Whether this process's netns forwards IPv4.
pub fn node_forwards() -> bool {
    std::fs::read_to_string(path("ipv4/ip_forward")).is_ok_and(|value| value.trim() == "1")
}

/// Sets a switch in a netns, or in this process's own; nothing happens where the kernel has no such
/// switch, as without IPv6 or `br_netfilter`.
pub async fn set(netns: Option<&Netns>, key: String, value: &'static str) -> Result<(), Error> {
    let file = path(&key);
    let done = netns::within(netns, move || std::fs::write(file, value)).await?;
    match done {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Switch { key, value, source })
        }
        _ => Ok(()),
    }
}
