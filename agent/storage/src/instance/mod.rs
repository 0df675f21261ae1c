//! The instances' directories, `<state-dir>/instances/<uuid>`.

mod config_drive;

use crate::image::CachedImage;
use crate::tool::Tool;
use crate::{Bases, Error, files, overlay};
use kilonova_agent_core::guest::Files;
use kilonova_agent_core::record::{InstanceFiles, Record};
use kilonova_crds::v1alpha1::ImageFormat;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Files of an instance.
const DISK: &str = "disk.qcow2";
const CONFIG_DRIVE: &str = "config.iso";
const CONSOLE_LOG: &str = "console.log";
const USER_DATA: &str = "user-data";
const RECORD: &str = "record.json";
/// Ending of a directory that is being removed: it is no instance any more.
const REMOVED: &str = "removed";
/// `qemu-img create` reads one header and writes another.
const QEMU_IMG: Tool = Tool {
    program: "qemu-img",
    address_space: 1 << 30,
    cpu_seconds: 30,
    seconds: 60,
};

/// The directories of the instances. Clones are one handle.
#[derive(Clone, Debug)]
pub struct Instances {
    root: PathBuf,
    bases: Bases,
}

impl Instances {
    pub(crate) fn new(root: PathBuf, bases: Bases) -> Self {
        Self { root, bases }
    }

    /// Path of an instance's root disk.
    ///
    /// # Errors
    /// When `uuid` is none.
    pub fn root_disk(&self, uuid: &str) -> Result<PathBuf, Error> {
        Ok(self.directory(uuid)?.join(DISK))
    }

    /// Path of an instance's config drive.
    ///
    /// # Errors
    /// When `uuid` is none.
    pub fn config_drive(&self, uuid: &str) -> Result<PathBuf, Error> {
        Ok(self.directory(uuid)?.join(CONFIG_DRIVE))
    }

    /// Path of the log of an instance's serial console.
    ///
    /// # Errors
    /// When `uuid` is none.
    pub fn console_log(&self, uuid: &str) -> Result<PathBuf, Error> {
        Ok(self.directory(uuid)?.join(CONSOLE_LOG))
    }

    /// What there is of all instances.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub async fn list(&self) -> Result<Vec<InstanceFiles>, Error> {
        let instances = self.clone();
        files::blocking(move || {
            let uuids = instances.uuids()?;
            let observed = uuids.iter().map(|uuid| instances.observe(uuid));
            observed.filter_map(Result::transpose).collect()
        })
        .await
    }

    /// What there is of one instance; `None` where there is no directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn get(&self, uuid: &str) -> Result<Option<InstanceFiles>, Error> {
        let (instances, uuid) = (self.clone(), uuid.to_owned());
        files::blocking(move || instances.observe(&uuid)).await
    }

    /// Makes a root disk of `bytes` over an image; one that is there stays as it is.
    ///
    /// # Errors
    /// When there is no room, the image is larger or gone meanwhile, or `qemu-img` fails.
    pub async fn create_root_disk(
        &self,
        uuid: &str,
        base: &CachedImage,
        bytes: u64,
    ) -> Result<(), Error> {
        if bytes < base.virtual_size {
            let image = base.virtual_size;
            return Err(Error::TooSmall { bytes, image });
        }
        let _base_stays = self.bases.read().await;
        let (directory, disk) = (self.directory(uuid)?, self.root_disk(uuid)?);
        let (image, path) = (base.path.clone(), disk.clone());
        let new = directory.join("disk.new");
        let there = files::blocking(move || {
            fs::metadata(&image).map_err(Error::io("use", &image))?;
            files::make_directory(&directory)?;
            fs::exists(&path).map_err(Error::io("look for", &path))
        });
        if there.await? {
            return Ok(());
        }
        let format = match base.format {
            ImageFormat::Qcow2 => "qcow2",
            ImageFormat::Raw => "raw",
        };
        let bytes = bytes.to_string();
        let create = ["create", "-q", "-f", "qcow2", "-F", format, "-b"].map(AsRef::as_ref);
        let names = [base.path.as_os_str(), new.as_os_str(), bytes.as_ref()];
        QEMU_IMG.run(&[&create[..], &names].concat()).await?;
        files::blocking(move || files::publish_first(&new, &disk)).await
    }

    /// The user data that came from a Secret; `None` where none was kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn user_data(&self, uuid: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.directory(uuid)?.join(USER_DATA);
        files::blocking(move || {
            files::unless_missing(fs::read(&path).map_err(Error::io("read", &path)))
        })
        .await
    }

    /// Keeps user data that came from a Secret, readable for root only: the Secret goes, and a
    /// config drive may have to be made anew.
    ///
    /// # Errors
    /// When there is no room, or it cannot be written.
    pub async fn keep_user_data(&self, uuid: &str, content: Vec<u8>) -> Result<(), Error> {
        let directory = self.directory(uuid)?;
        files::blocking(move || {
            files::make_directory(&directory)?;
            files::write(&directory.join(USER_DATA), &content)
        })
        .await
    }

    /// Writes a config drive. Returns false where the one that is there bears the same digest of
    /// what it was made from.
    ///
    /// # Errors
    /// When there is no room, or the tool fails.
    pub async fn write_config_drive(
        &self,
        uuid: &str,
        content: Files,
        digest: &str,
    ) -> Result<bool, Error> {
        let (directory, drive) = (self.directory(uuid)?, self.config_drive(uuid)?);
        let there = drive.clone();
        let there = files::blocking(move || config_drive::digest(&there)).await?;
        if there.as_deref() == Some(digest) {
            return Ok(false);
        }
        config_drive::write(&directory, &drive, content, digest).await?;
        Ok(true)
    }

    /// Writes an instance's record, making its directory where needed.
    ///
    /// # Errors
    /// When there is no room, or the file cannot be written.
    pub async fn write_record(&self, record: &Record) -> Result<(), Error> {
        let directory = self.directory(&record.owner.uuid)?;
        let content = serde_json::to_vec_pretty(record)?;
        files::blocking(move || {
            files::make_directory(&directory)?;
            files::write(&directory.join(RECORD), &content)
        })
        .await
    }

    /// Removes an instance's directory with all that is in it. Success where it is not there.
    ///
    /// # Errors
    /// When something of it is left.
    pub async fn remove(&self, uuid: &str) -> Result<(), Error> {
        let directory = self.directory(uuid)?;
        files::blocking(move || {
            // Under another name first: what a crash leaves of it is no instance.
            let removed = directory.with_extension(REMOVED);
            remove_all(&removed)?;
            let renamed = fs::rename(&directory, &removed);
            files::unless_missing(renamed.map_err(Error::io("rename", &directory)))?;
            files::sync_parent(&directory)?;
            remove_all(&removed)?;
            files::sync_parent(&directory)
        })
        .await
    }

    /// Ends the removals that a crash broke off.
    pub(crate) fn end_removals(&self) -> Result<(), Error> {
        let entries = self.entries()?;
        let removed = entries.iter().map(|name| self.root.join(name));
        removed
            .filter(|path| path.extension().is_some_and(|end| end == REMOVED))
            .try_for_each(|path| remove_all(&path))
    }

    /// Names of the cached images that root disks are over. Blocks.
    pub(crate) fn bases(&self) -> Result<HashSet<String>, Error> {
        let mut bases = HashSet::new();
        for uuid in self.uuids()? {
            let disk = overlay::inspect(&self.root_disk(&uuid)?)?;
            bases.extend(disk.and_then(|disk| disk.backing));
        }
        Ok(bases)
    }

    fn observe(&self, uuid: &str) -> Result<Option<InstanceFiles>, Error> {
        let directory = self.directory(uuid)?;
        let there = fs::metadata(&directory).map_err(Error::io("look at", &directory));
        if files::unless_missing(there)?.is_none() {
            return Ok(None);
        }
        Ok(Some(InstanceFiles {
            uuid: uuid.to_owned(),
            record: read_record(&directory.join(RECORD))?,
            disk: overlay::observe(&directory.join(DISK))?,
            config_drive: config_drive::digest(&directory.join(CONFIG_DRIVE))?,
        }))
    }

    /// The UUIDs that there are directories of.
    fn uuids(&self) -> Result<Vec<String>, Error> {
        let mut uuids = self.entries()?;
        uuids.retain(|name| self.directory(name).is_ok());
        Ok(uuids)
    }

    fn entries(&self) -> Result<Vec<String>, Error> {
        let error = || Error::io("list", &self.root);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(error())? {
            let name = entry.map_err(error())?.file_name();
            names.extend(name.into_string());
        }
        Ok(names)
    }

    /// An instance's directory. Only a UUID in its usual form is taken for one: nothing else can
    /// become a part of a path.
    fn directory(&self, uuid: &str) -> Result<PathBuf, Error> {
        match Uuid::parse_str(uuid) {
            Ok(parsed) if parsed.to_string() == uuid => Ok(self.root.join(uuid)),
            _ => Err(Error::Uuid(uuid.to_owned())),
        }
    }
}

/// A record that cannot be read is as good as none: it is said in the log, and the instance is held
/// as one that is not known.
fn read_record(path: &Path) -> Result<Option<Record>, Error> {
    let read = fs::read(path).map_err(Error::io("read", path));
    let Some(content) = files::unless_missing(read)? else {
        return Ok(None);
    };
    match serde_json::from_slice(&content) {
        Ok(record) => Ok(Some(record)),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "a record cannot be read");
            Ok(None)
        }
    }
}

fn remove_all(path: &Path) -> Result<(), Error> {
    let removed = fs::remove_dir_all(path).map_err(Error::io("remove", path));
    files::unless_missing(removed).map(drop)
}
