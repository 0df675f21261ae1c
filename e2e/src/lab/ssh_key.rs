//! An ssh key pair for guests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Error, Result, process::run};

/// A key pair: the private key in a file, the public one as a `KeyPair` has it.
#[derive(Clone, Debug)]
pub struct SshKey {
    /// The private key's file.
    pub private: PathBuf,
    /// The public key, one line.
    pub public: String,
}

impl SshKey {
    /// The key pair at a path, made when there is none.
    ///
    /// # Errors
    /// When `ssh-keygen` fails.
    pub async fn at(path: &Path) -> Result<Self> {
        if !path.is_file() {
            let mut command = Command::new("ssh-keygen");
            command
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "kilonova-lab", "-f"])
                .arg(path);
            run(command, "").await?.checked()?;
        }
        let file = path.with_extension("pub");
        let public = fs::read_to_string(&file).map_err(Error::file("read", &file))?;
        Ok(Self {
            private: path.to_path_buf(),
            public: public.trim().to_owned(),
        })
    }
}
