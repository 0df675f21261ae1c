//! The lab of Kilonova: real parts on one machine, for `make up`, `make demo` and the end-to-end tests.
//!
//! A [`lab::Lab`] is a private world: a process-id namespace that holds everything it starts, a network namespace
//! with a real control plane (etcd, kube-apiserver, kube-controller-manager), and any number of nodes, each in
//! network and mount namespaces of its own with a real libvirtd. Ending one process ends all of it; nothing on the
//! machine but files in the lab's own directory is touched.
//!
//! ```no_run
//! use kilonova_e2e::lab::{Lab, LabOptions};
//! # async fn run() -> Result<(), kilonova_e2e::Error> {
//! let lab = Lab::start(LabOptions::new("two-nodes").nodes(2)).await?;
//! println!("{}", lab.kubectl(["get", "nodes"]).await?.stdout);
//! println!("{}", lab.node(0).virsh(["list", "--all"]).await?);
//! # Ok(())
//! # }
//! ```
//!
//! What may not happen here: a test that needs the machine's own libvirtd, network or kubeconfig.

pub mod build;
pub mod chart;
pub mod cloud;
pub mod cluster;
pub mod error;
pub mod lab;
pub mod process;
pub mod repo;
pub mod wait;

pub use error::{Error, Result, tell};
