//! What a guest is told: the files of its config drive.
//!
//! The layout is OpenStack's, with the EC2 one beside it, so that cloud-init's and CirrOS' own data
//! sources work unchanged. The same input always gives the same bytes: a drive is written anew only
//! when something in it changed.

mod ec2;
mod metadata;
mod network;

use kilonova_crds::node::{DomainSpec, SegmentSpec};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Versions of the OpenStack layout that are offered: cloud-init takes the newest that it knows,
/// at most `2018-08-27`.
const OPENSTACK_VERSIONS: [&str; 3] = ["2018-08-27", "2020-10-14", "latest"];
/// Versions of the EC2 layout that are offered.
const EC2_VERSIONS: [&str; 2] = ["2009-04-04", "latest"];

/// Path on the config drive, with `/` between its parts, and content.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Why a guest cannot be told its network.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// A port names a Segment that was not given.
    #[error("port {port} is of segment {segment}, which is not there")]
    Segment {
        /// The port.
        port: String,
        /// Uid of the Network.
        segment: String,
    },
    /// A route's destination is no subnet.
    #[error("the route to {destination:?} of segment {segment} leads to no subnet")]
    Route {
        /// Uid of the Network.
        segment: String,
        /// The destination.
        destination: String,
        /// What is wrong with it.
        source: ipnet::AddrParseError,
    },
    /// An address is none.
    #[error("port {port} has {address:?}, which is no address with a prefix length")]
    Address {
        /// The port.
        port: String,
        /// The address.
        address: String,
    },
    /// JSON cannot be written.
    #[error("write the JSON")]
    Json(#[from] serde_json::Error),
}

/// What a config drive is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// Its files, but for user data that comes from a Secret: no plan has that in it.
    pub files: Files,
    /// The Secret in the node namespace that user data comes from.
    pub user_data_secret: Option<String>,
}

impl Drive {
    /// What a domain's config drive is made from. `segments` has those of its ports.
    ///
    /// # Errors
    /// As [`files`].
    pub fn new(domain: &DomainSpec, segments: &[SegmentSpec]) -> Result<Self, GuestError> {
        Ok(Self {
            files: files(domain, segments)?,
            user_data_secret: domain.guest.user_data_secret.clone(),
        })
    }

    /// A digest of what it is made from. Which Secret user data comes from is not in it, nor what
    /// that says: a guest is given it once.
    #[must_use]
    pub fn digest(&self) -> String {
        match self.user_data_secret {
            Some(_) => digest(&with_user_data(self.files.clone(), b"from a Secret")),
            None => digest(&self.files),
        }
    }

    /// The files with the user data that the Secret had.
    #[must_use]
    pub fn with_secret(&self, user_data: &[u8]) -> Files {
        with_user_data(self.files.clone(), user_data)
    }
}

fn with_user_data(mut files: Files, content: &[u8]) -> Files {
    for version in OPENSTACK_VERSIONS {
        let path = format!("openstack/{version}/user_data");
        files.insert(path, content.to_vec());
    }
    for version in EC2_VERSIONS {
        files.insert(format!("ec2/{version}/user-data"), content.to_vec());
    }
    files
}

/// The files of a domain's config drive. `segments` has those of its ports; others are ignored.
///
/// # Errors
/// When a port's segment is missing, or an address or a route is none.
pub fn files(domain: &DomainSpec, segments: &[SegmentSpec]) -> Result<Files, GuestError> {
    let metadata = serde_json::to_vec_pretty(&metadata::metadata(domain))?;
    let network = serde_json::to_vec_pretty(&network::network(&domain.ports, segments)?)?;
    let ec2 = serde_json::to_vec_pretty(&ec2::metadata(domain))?;

    let mut files = Files::new();
    for version in OPENSTACK_VERSIONS {
        let mut put = |name: &str, content: &[u8]| {
            files.insert(format!("openstack/{version}/{name}"), content.to_vec());
        };
        put("meta_data.json", &metadata);
        put("network_data.json", &network);
        put("vendor_data.json", b"{}");
    }
    for version in EC2_VERSIONS {
        let mut put = |name: &str, content: &[u8]| {
            files.insert(format!("ec2/{version}/{name}"), content.to_vec());
        };
        put("meta-data.json", &ec2);
    }
    Ok(match &domain.guest.user_data {
        Some(content) => with_user_data(files, content.as_bytes()),
        None => files,
    })
}

/// A digest of a config drive's files, 64 hexadecimal digits: equal where the files are.
#[must_use]
pub fn digest(files: &Files) -> String {
    let mut hash = Sha256::new();
    for (path, content) in files {
        // Lengths first, so that no two sets of files run into the same bytes.
        hash.update((path.len() as u64).to_le_bytes());
        hash.update(path);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    hash.finalize().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests;
