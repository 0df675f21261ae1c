//! The guest image: a real bootable disk, built by `e2e/guest/build.sh` from the distribution's packages.

use std::{fs, path::PathBuf, process::Command};

use super::hash;
use crate::{Error, Result, repo};

/// Packages whose files go into the image: another version of one makes another image.
const PACKAGES: [&str; 3] = ["busybox-static", "dropbear-bin", "syslinux-common"];

/// A guest image that is there.
#[derive(Clone, Debug)]
pub struct GuestImage {
    /// The qcow2 file.
    pub path: PathBuf,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

impl GuestImage {
    /// The image, when it has been built.
    ///
    /// # Errors
    /// When it has not: `make setup` builds it.
    pub fn find() -> Result<Self> {
        let path = image_path()?;
        let sum = path.with_extension("qcow2.sha256");
        let sha256 = fs::read_to_string(&sum).map_err(|_| Error::Missing {
            what: "the guest image".to_owned(),
            remedy: "run `make setup` (or `kilonova-lab guest-image`)".to_owned(),
        })?;
        Ok(Self {
            path,
            sha256: sha256.trim().to_owned(),
        })
    }

    /// The checksum as a `ClusterImage` has it.
    #[must_use]
    pub fn checksum(&self) -> String {
        format!("sha256:{}", self.sha256)
    }
}

/// Builds the image unless it is there. `say` is told when it is not.
///
/// # Errors
/// When the script fails.
pub fn ensure(say: impl FnOnce(&str)) -> Result<GuestImage> {
    if let Ok(found) = GuestImage::find() {
        return Ok(found);
    }
    say("building the guest image from Debian's kernel, busybox and dropbear (seconds)");
    let path = image_path()?;
    let script = repo::root().join("e2e/guest/build.sh");
    super::quiet(Command::new(&script).arg(&path))?;
    // Last: an image without its sum is not there.
    let sum = path.with_extension("qcow2.sha256");
    fs::write(&sum, hash::file(&path)?).map_err(Error::file("write", sum))?;
    GuestImage::find()
}

fn image_path() -> Result<PathBuf> {
    let dir = repo::root().join("e2e/guest");
    let versions = package_versions()?;
    let hash = hash::inputs(&dir, &hash::files_below(&dir)?, &[&versions])?;
    Ok(repo::cache().join(format!("guest-{hash}/guest.qcow2")))
}

/// The installed versions of what goes into the image. The kernel is not among them: it is downloaded, and a newer one
/// is no reason to build anew.
fn package_versions() -> Result<String> {
    let mut command = Command::new("dpkg-query");
    command
        .args(["--show", "--showformat", "${Package}=${Version} "])
        .args(PACKAGES);
    let output = command.output().map_err(|source| Error::Start {
        program: "dpkg-query".to_owned(),
        source,
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
