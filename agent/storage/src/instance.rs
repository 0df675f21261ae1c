//! The instances' directories.

use crate::{CachedImage, Error};
use kilonova_agent_core::guest::Files;
use kilonova_agent_core::record::{InstanceFiles, Record};
use std::path::PathBuf;

/// The directories of the instances, `<state-dir>/instances/<uuid>`.
#[derive(Clone, Debug)]
pub struct Instances {}

impl Instances {
    /// Path of an instance's root disk.
    ///
    /// # Errors
    /// When `uuid` is none.
    pub fn root_disk(&self, uuid: &str) -> Result<PathBuf, Error> {
        let _ = uuid;
        unimplemented!()
    }

    /// Path of an instance's config drive.
    ///
    /// # Errors
    /// When `uuid` is none.
    pub fn config_drive(&self, uuid: &str) -> Result<PathBuf, Error> {
        let _ = uuid;
        unimplemented!()
    }

    /// Path of the log of an instance's serial console.
    ///
    /// # Errors
    /// When `uuid` is none.
    pub fn console_log(&self, uuid: &str) -> Result<PathBuf, Error> {
        let _ = uuid;
        unimplemented!()
    }

    /// What there is of all instances.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn list(&self) -> Result<Vec<InstanceFiles>, Error> {
        unimplemented!()
    }

    /// What there is of one instance; `None` where there is no directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn get(&self, uuid: &str) -> Result<Option<InstanceFiles>, Error> {
        let _ = uuid;
        unimplemented!()
    }

    /// Makes a root disk of `bytes` over an image; one that is there stays as it is.
    ///
    /// # Errors
    /// When there is no room, or `qemu-img` fails.
    pub async fn create_root_disk(
        &self,
        uuid: &str,
        base: &CachedImage,
        bytes: u64,
    ) -> Result<(), Error> {
        let _ = (uuid, base, bytes);
        unimplemented!()
    }

    /// Writes a config drive. Returns false where the one that is there was made from the same
    /// files.
    ///
    /// # Errors
    /// When there is no room, or the tool fails.
    pub async fn write_config_drive(&self, uuid: &str, files: &Files) -> Result<bool, Error> {
        let _ = (uuid, files);
        unimplemented!()
    }

    /// Writes an instance's record, making its directory where needed.
    ///
    /// # Errors
    /// When there is no room, or the file cannot be written.
    pub async fn write_record(&self, record: &Record) -> Result<(), Error> {
        let _ = record;
        unimplemented!()
    }

    /// Removes an instance's directory with all that is in it. Success where it is not there.
    ///
    /// # Errors
    /// When something of it is left.
    pub async fn remove(&self, uuid: &str) -> Result<(), Error> {
        let _ = uuid;
        unimplemented!()
    }
}
