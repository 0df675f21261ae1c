//! What is built once and kept: the control plane and the guest image, each cached by the hash of what it is made
//! from; and where the built programs are.

pub mod control_plane;
pub mod guest;
mod hash;
pub mod node_kernel;
pub mod node_programs;
pub mod programs;

pub use control_plane::ControlPlane;
pub use guest::GuestImage;
pub use hash::file as sha256;
pub use programs::program;
