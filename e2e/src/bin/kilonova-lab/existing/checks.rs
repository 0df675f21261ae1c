//! What must be there before anything is put into a cluster, with a sentence for each thing that is not.

use std::process::Command;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Node};
use kilonova_e2e::{Error, Result, build::images::AGENT_TOOLS, process::run_for};
use kube::{Api, ResourceExt, api::ListParams};

use super::{ANSWER, NODE_NAME, cluster::Cluster};

/// The oldest Kubernetes 1.x that has what the policies need.
const OLDEST_MINOR: u32 = 32;
/// What this check itself calls, and the package of it in Debian.
const VIRSH: (&str, &str) = ("virsh", "libvirt-clients");

fn missing(what: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::Missing {
        what: what.into(),
        remedy: remedy.into(),
    }
}

/// This machine: it can run guests.
pub(super) async fn machine() -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |name: &str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let programs = AGENT_TOOLS.into_iter().chain([VIRSH]);
    let lacking = programs.filter(|(program, _)| !there(program));
    let packages: Vec<_> = lacking.map(|(_, package)| package).collect();
    if !packages.is_empty() {
        let install = format!("install {}", packages.join(" "));
        return Err(missing("what the agent calls on this machine", install));
    }
    let mut ask = Command::new("virsh");
    ask.args(["--connect", "qemu:///system", "version"]);
    let answer = run_for(ask, "", ANSWER).await?;
    if answer.success() {
        return Ok(());
    }
    let remedy = format!(
        "install and start libvirtd (Debian: libvirt-daemon-system); virsh says: {}",
        answer.stderr.trim()
    );
    Err(missing("this machine's libvirt", remedy))
}

/// The cluster: it is new enough, knows this machine, and has no other Kilonova.
pub(super) async fn cluster(cluster: &Cluster) -> Result<()> {
    is_new_enough(cluster).await?;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let failed = Error::api(format!("read the Node {}", cluster.node));
    if nodes
        .get_opt(&cluster.node)
        .await
        .map_err(failed)?
        .is_none()
    {
        let what = format!(
            "this machine among the cluster's nodes, as {:?}",
            cluster.node
        );
        let remedy =
            format!("run this on a node of the cluster, or set {NODE_NAME} to its name there");
        return Err(missing(what, remedy));
    }
    let deployments: Api<Deployment> = Api::all(cluster.client.clone());
    let ours = ListParams::default().fields("metadata.name=kilonova-controllers");
    let failed = Error::api("list Deployments");
    let found = deployments.list(&ours).await.map_err(failed)?;
    match found.items.first() {
        None => Ok(()),
        Some(installed) => Err(missing(
            "a cluster without Kilonova",
            format!(
                "the namespace {} has it installed: add this machine as a node there, or uninstall it",
                installed.namespace().unwrap_or_default()
            ),
        )),
    }
}

async fn is_new_enough(cluster: &Cluster) -> Result<()> {
    let version = cluster.client.apiserver_version().await;
    let version = version.map_err(Error::api("ask the API server's version"))?;
    let minor: String = version
        .minor
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    if minor.parse().is_ok_and(|minor: u32| minor >= OLDEST_MINOR) {
        return Ok(());
    }
    Err(missing(
        format!("Kubernetes 1.{OLDEST_MINOR} or newer"),
        format!("upgrade the cluster, which is {}", version.git_version),
    ))
}
