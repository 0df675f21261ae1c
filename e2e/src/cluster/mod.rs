//! A cluster: the lab's control plane, and nodes that are machines of their own, each with a kernel, a kubelet,
//! containerd and libvirtd.
//!
//! A node is a user-mode Linux process. Its root is this machine's own, read-only under an overlay, so what is
//! installed here is there as well; what a power cut must not take is on a disk of its own. It has two NICs: `eth0` on
//! the lab's network, and `eth1` on the physical network, a wire for tagged frames. Everything lives in the lab's
//! process-id namespace and ends with it.
//!
//! ```no_run
//! use kilonova_e2e::cluster::{Cluster, ClusterOptions};
//! # async fn run() -> Result<(), kilonova_e2e::Error> {
//! let cluster = Cluster::start(ClusterOptions::new("two", 2)).await?;
//! println!("{}", cluster.kubectl(["get", "nodes", "-o", "wide"]).await?.stdout);
//! let node = cluster.node(0);
//! println!("{}", node.sh("uname -a; ip -brief link").await?);
//! node.power_cut()?;
//! cluster.until_ready(node, false).await?;
//! node.boot()?;
//! cluster.until_ready(node, true).await?;
//! # Ok(())
//! # }
//! ```

mod capture;
mod network;
mod node;
mod options;
mod release;

use std::{
    ops::Deref,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Node;
use kube::Api;

pub use self::{
    capture::Capture,
    node::ClusterNode,
    options::{ClusterNodeOptions, ClusterOptions},
    release::{RELEASE, helm, install},
};
use crate::{
    Error, Result,
    build::{node_kernel, node_programs},
    lab::{KubeletOptions, Lab, LabOptions, SshKey, network as lab_network},
    wait::wait_while,
};

/// How long a node may take to boot, or to be missed. Seconds on an idle machine, but the machine is shared.
const PATIENCE: Duration = Duration::from_mins(4);

/// Memory of a machine beside the cluster, in MiB.
const OUTSIDER_MIB: u32 = 256;

/// A running cluster. It ends, with all that is in it, as a [`Lab`] does.
#[derive(Debug)]
pub struct Cluster {
    /// First, as it is dropped first and takes all the rest with it.
    lab: Lab,
    nodes: Vec<ClusterNode>,
    boot: Duration,
}

impl Deref for Cluster {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Cluster {
    /// Starts a cluster, and waits until every Node is Ready and has its images.
    ///
    /// # Errors
    /// When a part does not come up; what was started is ended and removed again.
    pub async fn start(options: ClusterOptions) -> Result<Self> {
        // On the heap: it is a large future, and every test would carry it in its own.
        Box::pin(Self::start_all(options)).await
    }

    async fn start_all(options: ClusterOptions) -> Result<Self> {
        let kernel = node_kernel::find()?;
        let programs = node_programs::find()?;
        let kubelets: Vec<_> = (0..)
            .zip(&options.nodes)
            .map(|(index, node)| KubeletOptions {
                name: node.name.clone(),
                address: lab_network::node_address(index),
            })
            .collect();
        let lab = Lab::start(LabOptions {
            dir: options.dir.clone(),
            kubelets: kubelets.clone(),
            ..LabOptions::bare(&options.name)
        })
        .await?;
        let start = Instant::now();
        network::create(&lab, &kubelets).await?;
        let key = SshKey::at(&lab.dir().join("id_node")).await?;
        let plan = node::Plan {
            lab: &lab,
            kernel: &kernel,
            programs: &programs,
            key: &key,
            images: &options.images,
            count: options.nodes.len(),
            kubelet: true,
        };
        let made = (0..).zip(&options.nodes);
        let made = made.map(|(index, node)| plan.node(index, node));
        let nodes = try_join_all(made).await?;
        lab.record_machines(nodes.iter().map(|node| node.machine().clone()))?;
        let mut cluster = Self {
            lab,
            nodes,
            boot: Duration::ZERO,
        };
        let ready = cluster.nodes.iter().map(|node| cluster.until_up(node));
        try_join_all(ready).await?;
        cluster.boot = start.elapsed();
        Ok(cluster)
    }

    /// The control plane.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The nodes, in the order of the options.
    #[must_use]
    pub fn nodes(&self) -> &[ClusterNode] {
        &self.nodes
    }

    /// A node by its index, counted from 0.
    ///
    /// # Panics
    /// When there is no such node: the test asked for another cluster than it started.
    #[must_use]
    #[allow(
        clippy::expect_used,
        reason = "a mistake in a test, not a state of the cluster"
    )]
    pub fn node(&self, index: usize) -> &ClusterNode {
        self.nodes
            .get(index)
            .expect("the cluster has a node with this index")
    }

    /// A node by its name.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn node_named(&self, name: &str) -> Result<&ClusterNode> {
        let missing = || Error::Missing {
            what: format!("the node {name:?}"),
            remedy: "see the cluster's options".to_owned(),
        };
        let mut nodes = self.nodes.iter();
        nodes.find(|node| node.name() == name).ok_or_else(missing)
    }

    /// How long each part of the start took.
    #[must_use]
    pub fn timings(&self) -> Vec<(String, Duration)> {
        let mut all = self.lab.timings().to_vec();
        all.push(("nodes booted and Ready".to_owned(), self.boot));
        all
    }

    /// Waits until a node that was booted has its services and images, and is Ready.
    ///
    /// # Errors
    /// When it does not become so, or its kernel has ended.
    pub async fn until_up(&self, node: &ClusterNode) -> Result<()> {
        node.until_up(PATIENCE).await?;
        self.until_ready(node, true).await
    }

    /// Waits until the control plane says that a node is Ready, or that it is not.
    ///
    /// # Errors
    /// When it does not say so.
    pub async fn until_ready(&self, node: &ClusterNode, wanted: bool) -> Result<()> {
        let api: Api<Node> = Api::all(self.lab.client().await?);
        let what = format!("the Node {} to have Ready={wanted}", node.name());
        let alive = || if wanted { node.check() } else { Ok(()) };
        wait_while(alive, what, PATIENCE, || async {
            let found = api.get(node.name()).await;
            let found = found.map_err(|error| error.to_string())?;
            let conditions = found.status.and_then(|s| s.conditions).unwrap_or_default();
            let ready = conditions.into_iter().find(|c| c.type_ == "Ready");
            match ready {
                Some(ready) if (ready.status == "True") == wanted => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await
    }

    /// Switches on a machine of its own beside the cluster, with a NIC on both networks: what an operator has there that
    /// is no node. It has neither kubelet nor libvirtd, and ends when it is dropped; there is one at a time.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn outsider(&self, name: &str) -> Result<ClusterNode> {
        let count = self.nodes.len();
        let index = u8::try_from(count).map_err(|_| Error::Missing {
            what: "an address of the lab's network".to_owned(),
            remedy: "start fewer nodes".to_owned(),
        })?;
        network::ports(&self.lab, index + 1).await?;
        let plan = node::Plan {
            lab: &self.lab,
            kernel: &node_kernel::find()?,
            programs: &node_programs::find()?,
            key: &SshKey::at(&self.lab.dir().join("id_node")).await?,
            images: &[],
            count,
            kubelet: false,
        };
        let options = ClusterNodeOptions {
            libvirt: false,
            memory_mib: OUTSIDER_MIB,
            ..ClusterNodeOptions::new(name)
        };
        let machine = plan.node(index, &options).await?;
        machine.until_up(PATIENCE).await?;
        Ok(machine)
    }

    /// Takes a node off both networks, as a broken switch does.
    ///
    /// # Errors
    /// When the ports cannot be set.
    pub async fn cut_off(&self, node: &ClusterNode) -> Result<()> {
        network::set_ports(&self.lab, node.index(), network::PortState::Disabled).await
    }

    /// Puts a node back that was cut off.
    ///
    /// # Errors
    /// When the ports cannot be set.
    pub async fn join(&self, node: &ClusterNode) -> Result<()> {
        network::set_ports(&self.lab, node.index(), network::PortState::Forwarding).await
    }

    /// Starts to record what passes on the physical network.
    ///
    /// # Errors
    /// When tcpdump cannot be started.
    pub async fn capture(&self, name: &str) -> Result<Capture> {
        Capture::start(&self.lab, network::TRUNK, name).await
    }

    /// Lets the cluster run on after this program; see [`Lab::process`] for what ends it.
    ///
    /// # Errors
    /// When the lab is gone.
    pub fn detach(self) -> Result<()> {
        self.nodes.into_iter().for_each(ClusterNode::detach);
        self.lab.detach()
    }
}
