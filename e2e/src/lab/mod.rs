//! A lab: a private world with a real control plane and real nodes. See the crate's documentation.

mod audit;
mod byte_range;
mod client;
mod components;
mod control_plane;
mod failpoints;
mod forward;
mod image_answer;
mod image_server;
mod init;
mod kubeconfig;
mod kubectl;
mod libvirt;
mod machine;
mod manifests;
pub mod network;
mod node;
mod objects;
mod options;
mod pki;
mod policies;
mod record;
mod ssh_key;
mod start;
mod system;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use kube::Client;

pub(crate) use self::machine::{Access, quoted};
pub use self::{
    audit::{AuditEvent, AuditObject, AuditStatus, AuditUser},
    client::client_for,
    failpoints::Failpoints,
    forward::run as run_forwarder,
    image_server::{Behaviour, ImageRequest, ImageServer, serve_forever},
    init::run as run_init,
    libvirt::{Daemons, Libvirt},
    machine::Machine,
    manifests::{AGENTS_NAMESPACE, SYSTEM_NAMESPACE},
    node::Node,
    options::{ForwardPolicy, KubeletOptions, LabOptions, NodeOptions, Programs},
    pki::write_private,
    record::Record,
    ssh_key::SshKey,
    start::ready,
    system::{
        install as install_system, missing_namespaces, remove as remove_system,
        token as account_token,
    },
};
use self::{control_plane::Services, init::Init, kubeconfig::User, kubectl::Kubectl, pki::Pki};
use crate::{
    Error, Result,
    build::Helm,
    process::{Namespaces, Output, ProcessId, Service, run},
};

/// A running lab. It ends, with all that is in it, when it is dropped; and when this program ends in whatever way.
///
/// A lab may be kept in a `static` and shared by the tests of one program: nothing of it depends on the runtime that
/// started it, and the end of the program is its end. Take a [`Lab::client`] in each test, as a client does depend on
/// its runtime.
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    pki: Pki,
    kubectl: Kubectl,
    services: Services,
    forwarder: Service,
    controllers: Vec<Service>,
    agents: Vec<Service>,
    nodes: Vec<Node>,
    timings: Vec<(String, Duration)>,
    namespaces: Namespaces,
    /// `None` only while it is dropped or let go.
    init: Option<Init>,
}

impl Lab {
    /// Its directory: logs, credentials, the nodes' disks.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The kubeconfig of its admin, for this machine (through the forwarder).
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        start::admin_kubeconfig(&self.dir)
    }

    /// The namespaces of the control plane, to start more in them.
    #[must_use]
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// The first process: everything of the lab ends with it.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.namespaces.target()
    }

    /// How long each part of the start took.
    #[must_use]
    pub fn timings(&self) -> &[(String, Duration)] {
        &self.timings
    }

    /// The nodes, in the order of the options.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by its index, counted from 0.
    ///
    /// # Panics
    /// When there is no such node: the test asked for another lab than it started.
    #[must_use]
    #[allow(
        clippy::expect_used,
        reason = "a mistake in a test, not a state of the lab"
    )]
    pub fn node(&self, index: usize) -> &Node {
        self.nodes
            .get(index)
            .expect("the lab has a node with this index")
    }

    /// A node by its name, as `status.nodeName` has it.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn node_named(&self, name: &str) -> Result<&Node> {
        let missing = || Error::Missing {
            what: format!("the node {name:?}"),
            remedy: "see the lab's options".to_owned(),
        };
        self.nodes
            .iter()
            .find(|node| node.name() == name)
            .ok_or_else(missing)
    }

    /// The agent of the node with this index.
    ///
    /// # Panics
    /// When there is no such node, or the lab has no system.
    #[must_use]
    #[allow(
        clippy::expect_used,
        reason = "a mistake in a test, not a state of the lab"
    )]
    pub fn agent(&self, index: usize) -> &Service {
        self.agents
            .get(index)
            .expect("the lab has an agent with this index")
    }

    /// The replicas of the controllers.
    #[must_use]
    pub fn controllers(&self) -> &[Service] {
        &self.controllers
    }

    /// The failpoints of the agent of the node with this index.
    #[must_use]
    pub fn agent_failpoints(&self, index: usize) -> Failpoints {
        Failpoints::of_agent(&self.dir, self.node(index).name())
    }

    /// The failpoints of the controllers' replica with this index.
    #[must_use]
    pub fn controllers_failpoints(&self, index: usize) -> Failpoints {
        Failpoints::of_controllers(&self.dir, index)
    }

    /// etcd.
    #[must_use]
    pub fn etcd(&self) -> &Service {
        &self.services.etcd
    }

    /// kube-apiserver.
    #[must_use]
    pub fn apiserver(&self) -> &Service {
        &self.services.apiserver
    }

    /// The forwarder from this machine's loopback to the API server.
    #[must_use]
    pub fn forwarder(&self) -> &Service {
        &self.forwarder
    }

    /// kube-controller-manager.
    #[must_use]
    pub fn controller_manager(&self) -> &Service {
        &self.services.controller_manager
    }

    /// A client with the admin's credentials, for the runtime of the caller.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub async fn client(&self) -> Result<Client> {
        client_for(&self.kubeconfig(), None).await
    }

    /// A client that bears a token and nothing else.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub async fn client_with_token(&self, token: &str) -> Result<Client> {
        client_for(&self.kubeconfig(), Some(token)).await
    }

    /// A token of a `ServiceAccount` of the chart's, bound to a Node where one is named.
    ///
    /// # Errors
    /// When the API server gives none.
    pub async fn token(&self, account: &str, node: Option<&str>) -> Result<String> {
        system::token(&self.client().await?, account, node).await
    }

    /// Runs kubectl as admin. Its failure is not an error: see [`Output::checked`].
    ///
    /// # Errors
    /// When it cannot be started or takes too long.
    pub async fn kubectl<S: AsRef<str>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Output> {
        self.kubectl.run(args, "").await
    }

    /// Runs kubectl as admin with a manifest as its standard input (`-f -`).
    ///
    /// # Errors
    /// When it cannot be started or takes too long.
    pub async fn kubectl_with<S: AsRef<str>>(
        &self,
        args: impl IntoIterator<Item = S>,
        manifest: &str,
    ) -> Result<Output> {
        self.kubectl.run(args, manifest).await
    }

    /// kubectl as admin, not started: for who cannot wait for it as tests do.
    pub(crate) fn kubectl_command<S: AsRef<str>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        self.kubectl.command(args)
    }

    /// Runs Helm as admin. Its failure is not an error: see [`Output::checked`].
    ///
    /// # Errors
    /// When there is no Helm, or it cannot be started or takes too long.
    pub async fn helm<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        let mut command = Helm::find()?.command();
        command.arg("--kubeconfig").arg(self.kubeconfig());
        command.args(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        run(command, "").await
    }

    /// `kubectl apply -f -`, as a user does it. A refusal is not an error: see [`Output::checked`].
    ///
    /// # Errors
    /// When kubectl cannot be started or takes too long.
    pub async fn apply(&self, manifest: &str) -> Result<Output> {
        self.kubectl.run(["apply", "-f", "-"], manifest).await
    }

    /// Starts a server for the files of a directory, at the address where nodes and controllers reach it.
    ///
    /// # Errors
    /// When it cannot be started: for instance because the lab has one at this port already.
    pub fn serve_images(&self, dir: &Path, port: u16) -> Result<ImageServer> {
        ImageServer::start(&self.namespaces, (network::CONTROL_PLANE, port).into(), dir)
    }

    /// Every finished request for an object of our groups, in the order in which they ended.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub fn audit(&self) -> Result<Vec<AuditEvent>> {
        audit::read(&control_plane::audit_log(&self.dir))
    }

    /// Writes down the nodes of a cluster, for who did not start it.
    pub(crate) fn record_machines(
        &self,
        machines: impl IntoIterator<Item = Machine>,
    ) -> Result<()> {
        let Some(init) = &self.init else {
            return Ok(());
        };
        init.record().clone().with_nodes(machines).write(&self.dir)
    }

    /// Writes what a kubelet needs into a directory: `kubeconfig`, `ca.crt`, `serving.crt` and `serving.key`.
    pub(crate) fn kubelet_files(&self, name: &str, to: &Path) -> Result<()> {
        fs::create_dir_all(to).map_err(Error::file("create", to))?;
        for (from, file) in [
            ("ca.crt".to_owned(), "ca.crt"),
            (format!("{name}-serving.crt"), "serving.crt"),
            (format!("{name}-serving.key"), "serving.key"),
        ] {
            let (from, file) = (self.pki.path(&from), to.join(file));
            fs::copy(&from, &file).map_err(Error::file("write", file))?;
        }
        kubeconfig::write(
            &to.join("kubeconfig"),
            &kubeconfig::lab_server(),
            &self.pki,
            &User::Certificate(name),
        )
    }

    /// Lets the lab run on after this program; see [`Lab::process`] for what ends it.
    ///
    /// # Errors
    /// When the lab is gone.
    pub fn detach(mut self) -> Result<()> {
        if let Some(init) = self.init.take() {
            init.detach()?;
        }
        // Its services' guards must not end them now.
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the lab's logs are kept in {}",
                keep_logs(&self.dir).display()
            );
        }
        // The first process first: it takes all others with it, and the services' guards find nothing left to do.
        drop(self.init.take());
    }
}

/// Copies the logs of a lab that failed to where they stay, and says where that is.
#[must_use]
pub fn keep_logs(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default();
    let kept = crate::repo::work().join("failed").join(name);
    let copied = fs::create_dir_all(&kept).and_then(|()| {
        let from = [dir.join("logs"), control_plane::audit_log(dir)];
        std::process::Command::new("cp")
            .arg("-r")
            .args(from)
            .arg(&kept)
            .status()
    });
    if let Err(error) = copied {
        tracing::warn!(%error, "the lab's logs could not be kept");
    }
    kept
}
