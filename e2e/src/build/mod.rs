//! What is built once and kept: the control plane, Helm and the guest image, each cached by the hash of what it is made
//! from; and where the built programs are.

pub mod control_plane;
mod go;
pub mod guest;
mod hash;
pub mod helm;
pub mod images;
pub mod node_kernel;
pub mod node_programs;
mod oci;
pub mod previous;
pub mod programs;

pub use control_plane::ControlPlane;
pub use guest::GuestImage;
pub use hash::file as sha256;
pub use helm::Helm;
pub use programs::program;

use std::process::Command;

use crate::{Error, Result};

/// Runs a command to its end; what it says is shown when it fails.
fn quiet(command: &mut Command) -> Result<()> {
    let line = format!("{command:?}");
    let output = command.output().map_err(|source| Error::Start {
        program: line.clone(),
        source,
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: line,
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
