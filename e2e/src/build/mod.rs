//! What is built once and kept: the control plane, Helm and the guest image, each cached by the hash of what it is made
//! from; and where the built programs are.

pub mod control_plane;
mod go;
pub mod guest;
mod hash;
pub mod helm;
pub mod programs;

pub use control_plane::ControlPlane;
pub use guest::GuestImage;
pub use hash::file as sha256;
pub use helm::Helm;
pub use programs::program;
