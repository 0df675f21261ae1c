//! What a lab shall be.

use std::{net::Ipv4Addr, path::PathBuf};

/// What is around the segments on a node: most Kubernetes nodes do not forward by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardPolicy {
    /// Everything is forwarded.
    Accept,
    /// A chain of the `inet` family drops what is forwarded.
    #[default]
    DropInet,
    /// The chain FORWARD of the table `ip filter` drops, as iptables makes it.
    DropIptables,
}

impl ForwardPolicy {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::DropInet => "drop-inet",
            Self::DropIptables => "drop-iptables",
        }
    }
}

/// Which builds of our programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Programs {
    /// The product.
    #[default]
    Product,
    /// With points at which they kill themselves.
    WithFailpoints,
}

/// One node.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Name of the Node and the machine.
    pub name: String,
    /// Labels of the Node besides the usual ones.
    pub labels: Vec<(String, String)>,
    /// What its own packet filter does.
    pub forward: ForwardPolicy,
    /// Whether its agent is started with the lab.
    pub agent: bool,
    /// The agent's `--virt-type`. Tests name emulation: probing for KVM takes its time.
    pub virt_type: String,
    /// More arguments of the agent.
    pub agent_args: Vec<String>,
    /// Additions to the agent's environment.
    pub agent_env: Vec<(String, String)>,
}

impl NodeOptions {
    /// A node with the usual settings.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            labels: Vec::new(),
            forward: ForwardPolicy::default(),
            agent: true,
            virt_type: "qemu".to_owned(),
            agent_args: Vec::new(),
            agent_env: Vec::new(),
        }
    }
}

/// A machine with a kubelet of its own, which joins from outside: see `cluster`.
#[derive(Clone, Debug)]
pub struct KubeletOptions {
    /// Name of the machine and its Node.
    pub name: String,
    /// Its address on the lab's network.
    pub address: Ipv4Addr,
}

/// A whole lab.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// Names its directory.
    pub name: String,
    /// Its directory, removed at its end; by default a new one of its own below `.kilonova/labs`.
    pub dir: Option<PathBuf>,
    /// Its nodes, `node-1` and on.
    pub nodes: Vec<NodeOptions>,
    /// Who gets a kubelet's credentials. With any, kube-scheduler runs and kube-controller-manager does all of its work.
    pub kubelets: Vec<KubeletOptions>,
    /// Whether the CRDs, RBAC and policies of the charts are installed. Without them there is nothing but Kubernetes.
    pub system: bool,
    /// Whether kube-scheduler runs: it binds pods to Nodes, and nobody runs them.
    pub scheduler: bool,
    /// How many `kilonova-controllers` run.
    pub controllers: usize,
    /// More arguments of the controllers.
    pub controllers_args: Vec<String>,
    /// Additions to the controllers' environment.
    pub controllers_env: Vec<(String, String)>,
    /// More arguments of the API server: feature gates, for instance.
    pub apiserver_args: Vec<String>,
    /// Which builds of our programs run.
    pub programs: Programs,
    /// Whether etcd waits for the disk. Only a power cut of the real machine tells the difference.
    pub durable_etcd: bool,
}

impl LabOptions {
    /// A control plane with one replica of the controllers, and no node yet.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            dir: None,
            nodes: Vec::new(),
            kubelets: Vec::new(),
            system: true,
            scheduler: false,
            controllers: 1,
            controllers_args: Vec::new(),
            controllers_env: Vec::new(),
            apiserver_args: Vec::new(),
            programs: Programs::Product,
            durable_etcd: false,
        }
    }

    /// Nothing but Kubernetes: no CRDs, no controllers, no nodes.
    #[must_use]
    pub fn bare(name: impl Into<String>) -> Self {
        Self {
            system: false,
            controllers: 0,
            ..Self::new(name)
        }
    }

    /// With so many usual nodes, `node-1` and on.
    #[must_use]
    pub fn nodes(mut self, count: usize) -> Self {
        self.nodes = (1..=count)
            .map(|n| NodeOptions::new(format!("node-{n}")))
            .collect();
        self
    }

    /// With another node.
    #[must_use]
    pub fn node(mut self, node: NodeOptions) -> Self {
        self.nodes.push(node);
        self
    }

    /// Without `MutatingAdmissionPolicy`: as an API server before 1.36 is by default.
    #[must_use]
    pub fn without_mutating_policies(mut self) -> Self {
        let kind = "admissionregistration.k8s.io/v1/mutatingadmissionpolic";
        self.apiserver_args.extend([
            format!("--runtime-config={kind}ies=false,{kind}ybindings=false"),
            "--disable-admission-plugins=MutatingAdmissionPolicy".to_owned(),
        ]);
        self
    }

    /// With programs that kill themselves where a test says so.
    #[must_use]
    pub fn failpoints(mut self) -> Self {
        self.programs = Programs::WithFailpoints;
        self
    }

    /// With kube-scheduler.
    #[must_use]
    pub fn scheduler(mut self) -> Self {
        self.scheduler = true;
        self
    }

    /// With so many replicas of the controllers.
    #[must_use]
    pub fn controllers(mut self, replicas: usize) -> Self {
        self.controllers = replicas;
        self
    }
}
