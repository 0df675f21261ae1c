//! What a cluster shall be.

use std::path::PathBuf;

/// Memory of a node in MiB: kubelet and containerd take 300, the rest is for pods and guests. It is taken from the
/// machine as it is touched.
const MEMORY_MIB: u32 = 2048;

/// One node.
#[derive(Clone, Debug)]
pub struct ClusterNodeOptions {
    /// Name of the machine and its Node.
    pub name: String,
    /// Labels of the Node besides the usual ones.
    pub labels: Vec<(String, String)>,
    /// Whether libvirtd and virtlogd run on it.
    pub libvirt: bool,
    /// Its memory in MiB.
    pub memory_mib: u32,
}

impl ClusterNodeOptions {
    /// A node with the usual settings.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            labels: Vec::new(),
            libvirt: true,
            memory_mib: MEMORY_MIB,
        }
    }
}

/// A whole cluster.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Names its directory.
    pub name: String,
    /// Its directory, removed at its end; by default a new one of its own below `.kilonova/labs`.
    pub dir: Option<PathBuf>,
    /// Its nodes.
    pub nodes: Vec<ClusterNodeOptions>,
    /// Archives of container images that every node has from its start, beside the one of the sandbox.
    pub images: Vec<PathBuf>,
}

impl ClusterOptions {
    /// Nothing but Kubernetes on so many nodes, `node-1` and on.
    #[must_use]
    pub fn new(name: impl Into<String>, nodes: usize) -> Self {
        let node = |n| ClusterNodeOptions::new(format!("node-{n}"));
        Self {
            name: name.into(),
            dir: None,
            nodes: (1..=nodes).map(node).collect(),
            images: Vec::new(),
        }
    }

    /// With another node.
    #[must_use]
    pub fn node(mut self, node: ClusterNodeOptions) -> Self {
        self.nodes.push(node);
        self
    }

    /// With more container images.
    #[must_use]
    pub fn images(mut self, archives: impl IntoIterator<Item = PathBuf>) -> Self {
        self.images.extend(archives);
        self
    }
}
