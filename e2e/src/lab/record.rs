//! What is written down about a running lab, for who did not start it: the process that everything ends with, and the
//! nodes. It stands in the lab's directory from the first moment.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::machine::Machine;
use crate::{Error, Result, process::ProcessId};

/// A lab, as its directory tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The first process.
    pub init: ProcessId,
    /// `unshare`, which ends with it.
    pub launcher: ProcessId,
    /// Its nodes, once they are there. Of a lab that another version started they may not be readable; it can be ended
    /// all the same.
    #[serde(default, deserialize_with = "readable")]
    nodes: Vec<Machine>,
}

fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Machine>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

impl Record {
    pub(super) fn new(init: ProcessId, launcher: ProcessId) -> Self {
        Self {
            init,
            launcher,
            nodes: Vec::new(),
        }
    }

    pub(crate) fn with_nodes(mut self, nodes: impl IntoIterator<Item = Machine>) -> Self {
        self.nodes = nodes.into_iter().collect();
        self
    }

    /// Reads the record of the lab in a directory; none when there is no lab, or one that never came so far.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = path(dir);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|source| Error::Json {
                    what: path.display().to_string(),
                    source,
                }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("read", path)(error)),
        }
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let path = path(dir);
        let part = path.with_extension("part");
        let text = serde_json::to_string_pretty(self).map_err(|source| Error::Json {
            what: "the lab's record".to_owned(),
            source,
        })?;
        fs::write(&part, text).map_err(Error::file("write", &part))?;
        fs::rename(&part, &path).map_err(Error::file("rename", part))
    }

    /// Whether the lab runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.init.is_alive()
    }

    /// The lab's nodes, to run commands on.
    #[must_use]
    pub fn machines(self) -> Vec<Machine> {
        self.nodes
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("lab.json")
}
