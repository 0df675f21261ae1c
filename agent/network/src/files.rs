//! The files of Segments in the run directory, each written whole or not at all.

use kilonova_agent_core::network::rules::Record;
use kilonova_agent_core::network::{DhcpFiles, LinkName, Netns};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file of a Segment cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file or directory.
    #[error("{path}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The run directory's path cannot stand in dnsmasq's configuration.
    #[error("{0:?} is no absolute path of letters, digits and any of / . _ - + @ only")]
    RunDirectory(PathBuf),
}

/// The run directory.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// The run directory at a path; makes it.
    pub fn open(path: &Path) -> Result<Self, FilesError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
        let fits = path.is_absolute() && path.to_str().is_some_and(|text| text.chars().all(plain));
        if !fits {
            return Err(FilesError::RunDirectory(path.to_owned()));
        }
        make_directory(path)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The record of the node's own rules.
    pub fn node_record(&self) -> PathBuf {
        self.path.join("node-rules.json")
    }

    /// The files of one Segment.
    pub fn segment(&self, netns: &Netns) -> SegmentFiles {
        let directory = self.path.join("segments").join(netns.as_str());
        SegmentFiles {
            dhcp: DhcpFiles::in_directory(&directory),
            directory,
        }
    }
}

/// The files of one Segment.
#[derive(Clone, Debug)]
pub struct SegmentFiles {
    directory: PathBuf,
    /// Those of its DHCP server.
    pub dhcp: DhcpFiles,
}

impl SegmentFiles {
    /// Makes the directories.
    pub fn make(&self) -> Result<(), FilesError> {
        make_directory(&self.records())?;
        make_directory(&self.dhcp.hosts())
    }

    /// Removes everything.
    pub fn remove(&self) -> Result<(), FilesError> {
        absent_is_fine(std::fs::remove_dir_all(&self.directory)).map_err(at(&self.directory))
    }

    /// The record of the Segment's own rules. Its name is no tap's.
    pub fn record(&self) -> PathBuf {
        self.records().join("segment")
    }

    /// The record of a port's rules.
    pub fn port_record(&self, tap: &LinkName) -> PathBuf {
        self.records().join(tap.as_str())
    }

    /// The records of all ports' rules.
    pub fn port_records(&self) -> Result<BTreeMap<LinkName, Record>, FilesError> {
        let read = |name: &str| read_record(&self.records().join(name));
        by_tap(&self.records(), read)
    }

    /// The ports' lines for the DHCP server.
    pub fn hosts(&self) -> Result<BTreeMap<LinkName, String>, FilesError> {
        let hosts = self.dhcp.hosts();
        by_tap(&hosts, |name| read(&hosts.join(name)))
    }

    fn records(&self) -> PathBuf {
        self.directory.join("rules")
    }
}

/// What each file of a directory that is named by a tap holds.
fn by_tap<T>(
    directory: &Path,
    read: impl Fn(&str) -> Result<Option<T>, FilesError>,
) -> Result<BTreeMap<LinkName, T>, FilesError> {
    let mut found = BTreeMap::new();
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(at(directory)(error)),
    };
    for entry in entries {
        let name = entry.map_err(at(directory))?.file_name();
        let Some(tap) = name.to_str().and_then(|name| LinkName::new(name).ok()) else {
            continue;
        };
        if let Some(content) = read(tap.as_str())?.filter(|_| tap.is_tap()) {
            found.insert(tap, content);
        }
    }
    Ok(found)
}

/// Reads a record; one that is damaged is none.
pub fn read_record(path: &Path) -> Result<Option<Record>, FilesError> {
    Ok(read(path)?.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Writes a record.
pub fn write_record(path: &Path, record: &Record) -> Result<(), FilesError> {
    let text = serde_json::to_string(record).map_err(io::Error::from);
    write(path, &text.map_err(at(path))?)
}

/// Reads a file, if it is there.
pub fn read(path: &Path) -> Result<Option<String>, FilesError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

/// Writes a file beside its place, under a name that dnsmasq leaves alone, and puts it there.
pub fn write(path: &Path, text: &str) -> Result<(), FilesError> {
    let mut hidden = OsString::from(".");
    hidden.push(path.file_name().unwrap_or_default());
    let aside = path.with_file_name(hidden);
    std::fs::write(&aside, text).map_err(at(&aside))?;
    std::fs::rename(&aside, path).map_err(at(path))
}

/// Removes a file; whether it was there.
pub fn remove(path: &Path) -> Result<bool, FilesError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(path)(error)),
    }
}

fn make_directory(path: &Path) -> Result<(), FilesError> {
    std::fs::create_dir_all(path).map_err(at(path))
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FilesError {
    let path = path.to_owned();
    move |source| FilesError::Io { path, source }
}
