//! What is generated of the system's chart: the values' table in its README and the descriptions in its schema, both
//! from the comments of `values.yaml`. One text, three places.

mod readme;
mod schema;
mod values;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// The generated files of the chart in `dir`, each with its text.
///
/// # Errors
/// When values, schema or README cannot be read, or one has what another has not.
pub fn generate(dir: &Path) -> Result<Vec<(PathBuf, String)>> {
    let values = dir.join("values.yaml");
    let settings = values::settings(&read(&values)?).map_err(manifest(&values))?;
    let schema = dir.join("values.schema.json");
    let described = schema::describe(&read(&schema)?, &settings).map_err(manifest(&schema))?;
    let readme = dir.join("README.md");
    let page = readme::page(&read(&readme)?, &settings).map_err(manifest(&readme))?;
    Ok(vec![(schema, described), (readme, page)])
}

/// Writes what is generated where it differs, and gives which files that were.
///
/// # Errors
/// As [`generate`], and when a file cannot be written.
pub fn write(dir: &Path) -> Result<Vec<PathBuf>> {
    let stale = stale(dir)?;
    for (path, text) in &stale {
        fs::write(path, text).map_err(Error::file("write", path))?;
    }
    Ok(stale.into_iter().map(|(path, _)| path).collect())
}

/// The generated files that are not what they should be.
///
/// # Errors
/// As [`generate`].
pub fn stale(dir: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut files = generate(dir)?;
    files.retain(|(path, text)| fs::read_to_string(path).ok().as_ref() != Some(text));
    Ok(files)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::file("read", path))
}

fn manifest(path: &Path) -> impl FnOnce(String) -> Error {
    move |problem| Error::Manifest {
        path: path.to_path_buf(),
        problem,
    }
}
