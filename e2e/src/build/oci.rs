//! Archives of container images (OCI image layout): one layer out of a directory, and three small documents.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::hash;
use crate::{Error, Result};

/// What an image is called and runs.
pub(super) struct Image<'a> {
    /// Its whole name: `docker.io/library/name:tag` where a manifest says `name:tag`.
    pub(super) name: &'a str,
    /// What it runs.
    pub(super) entrypoint: &'a [&'a str],
    /// As whom: `0`, or another number.
    pub(super) user: &'a str,
}

impl Image<'_> {
    /// Writes the archive of an image whose files are those below `root`.
    pub(super) fn write(&self, root: &Path, to: &Path) -> Result<()> {
        let work = tempfile::tempdir().map_err(Error::file("create", std::env::temp_dir()))?;
        // A temporary directory is its owner's alone; an image's root is everybody's.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(root, open).map_err(Error::file("set the mode of", root))?;
        let blobs = work.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(Error::file("create", &blobs))?;
        let layer = blobs.join("layer");
        tar(root, &layer)?;
        let layer = Blob::named_by_content(&layer)?;
        let config = Blob::of_json(
            &blobs,
            &json!({
                "architecture": "amd64", "os": "linux",
                "config": {"Entrypoint": self.entrypoint, "User": self.user, "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
                "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
            }),
        )?;
        let manifest = Blob::of_json(
            &blobs,
            &json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
                "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
            }),
        )?;
        let mut entry = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
        entry["annotations"] = json!({"io.containerd.image.name": self.name});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        write(&work.path().join("index.json"), &index.to_string())?;
        write(
            &work.path().join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        if let Some(dir) = to.parent() {
            fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        }
        let part = to.with_extension("part");
        tar(work.path(), &part)?;
        fs::rename(&part, to).map_err(Error::file("rename", part))
    }
}

/// A file that is named by its own hash.
struct Blob {
    digest: String,
    size: u64,
}

impl Blob {
    fn named_by_content(path: &Path) -> Result<Self> {
        let hash = hash::file(path)?;
        let size = fs::metadata(path).map_err(Error::file("read", path))?.len();
        fs::rename(path, path.with_file_name(&hash)).map_err(Error::file("rename", path))?;
        Ok(Self {
            digest: format!("sha256:{hash}"),
            size,
        })
    }

    fn of_json(dir: &Path, value: &Value) -> Result<Self> {
        let path: PathBuf = dir.join("document");
        write(&path, &value.to_string())?;
        Self::named_by_content(&path)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.size})
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::file("write", path))
}

/// The same directory gives the same archive, whenever and by whom it is made.
fn tar(dir: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("tar");
    command.args([
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
    ]);
    command.arg("-C").arg(dir).arg("-cf").arg(to).arg(".");
    super::quiet(&mut command)
}
