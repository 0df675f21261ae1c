//! Where a program of a lab kills itself: see the crate `kilonova-failpoints` for both sides' files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// Names the directory to a program that was built with failpoints.
pub(super) const DIR_VARIABLE: &str = "KILONOVA_FAILPOINTS";

/// The failpoints of one running program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failpoints {
    dir: PathBuf,
    program: &'static str,
}

impl Failpoints {
    pub(super) fn of_agent(lab: &Path, node: &str) -> Self {
        Self {
            dir: lab.join("failpoints").join(node),
            program: "agent",
        }
    }

    pub(super) fn of_controllers(lab: &Path, index: usize) -> Self {
        Self {
            dir: lab.join("failpoints").join(index.to_string()),
            program: "controllers",
        }
    }

    /// The environment that tells the program of them; makes the directory.
    pub(super) fn environment(&self) -> Result<(String, String)> {
        fs::create_dir_all(&self.dir).map_err(Error::file("create", &self.dir))?;
        let dir = self.dir.display().to_string();
        Ok((DIR_VARIABLE.to_owned(), dir))
    }

    /// The names of all of them, as the program tells them when it starts.
    ///
    /// # Errors
    /// When it has not.
    pub fn all(&self) -> Result<Vec<String>> {
        self.lines("points")
    }

    /// Has the program kill itself at these points, at each once, in this order: one counts from when the one before it
    /// was. In the place of what was armed before.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn arm(&self, points: &[&str]) -> Result<()> {
        let lines = points.iter().map(|point| [point, " 1\n"].concat());
        let lines = lines.collect::<String>();
        let (armed, new) = (self.file("armed"), self.file("arming"));
        fs::write(&new, lines).map_err(Error::file("write", &new))?;
        fs::rename(&new, &armed).map_err(Error::file("write", &armed))
    }

    /// The points at which it has not killed itself yet.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn left(&self) -> Result<Vec<String>> {
        self.lines("armed")
    }

    fn lines(&self, what: &str) -> Result<Vec<String>> {
        let path = self.file(what);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && what == "armed" => {
                return Ok(Vec::new());
            }
            read => read.map_err(Error::file("read", &path))?,
        };
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn file(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{}.{what}", self.program))
    }
}
