//! `make lab-demo`: Kilonova installed with Helm on real Kubernetes nodes, and an instance on each.

use std::time::Duration;

use kilonova_e2e::{
    Result,
    build::{self, GuestImage},
    cluster::{self, RELEASE},
    lab::Machine,
    process, repo,
};

use crate::{kept::Kept, progress::Progress, up};

/// How long each part may take, on a machine that does other things too.
const LIMIT: Duration = Duration::from_mins(4);

/// Shows it on the cluster that is up, and leaves it as it is.
pub(crate) async fn run() -> Result<()> {
    let progress = Progress::new();
    let kept = Kept::cluster();
    let machines = kept.machines()?;
    progress
        .time("helm install", cluster::install(&kept.kubeconfig, &[]))
        .await?;
    let pods = kubectl(&["get", "pods", "--all-namespaces", "-o", "wide"], "").await?;
    progress.show(&format!("helm status {RELEASE}: its pods"), &pods);
    let nodes: Vec<_> = machines.iter().map(Machine::name).collect();
    kubectl(&["apply", "-f", "-"], &manifest(&nodes)?).await?;
    let wait = [
        "wait",
        "instance",
        "--all",
        "--for=condition=Ready",
        "--timeout=200s",
    ];
    progress
        .time("an instance on each node, running", kubectl(&wait, ""))
        .await?;
    let table = kubectl(&["get", "inst,hv", "-o", "wide"], "").await?;
    progress.show("kubectl get inst,hv -o wide", &table);
    for machine in &machines {
        let domains = machine.virsh(["list"]).await?;
        progress.show(&format!("virsh list, on {}", machine.name()), &domains);
    }
    progress.show("where the time went", &progress.table());
    kept.tell(&progress);
    Ok(())
}

/// The user's kubectl.
async fn kubectl(args: &[&str], input: &str) -> Result<String> {
    let (program, own) = build::ControlPlane::find()?.command("kubectl");
    let mut command = std::process::Command::new(program);
    command.args(own).args(args);
    command.env("KUBECONFIG", repo::cluster_kubeconfig());
    let output = process::run_for(command, input, LIMIT).await?;
    output.checked().map(|output| output.stdout)
}

/// What an operator offers, and an instance for each node. JSON is YAML.
fn manifest(nodes: &[&str]) -> Result<String> {
    let image = GuestImage::find()?;
    let object = |kind: &str, name: &str, spec: serde_json::Value| {
        serde_json::json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
        })
    };
    let source =
        serde_json::json!({"http": {"url": up::image_url(), "checksum": image.checksum()}});
    let mut objects = vec![
        object(
            "Flavor",
            "tiny",
            serde_json::json!({"vcpus": 1, "memory": "128Mi", "disk": "256Mi"}),
        ),
        object(
            "NetworkClass",
            "local",
            serde_json::json!({"type": "local"}),
        ),
        object(
            "ClusterImage",
            "guest",
            serde_json::json!({"source": source, "format": "qcow2"}),
        ),
        object(
            "Network",
            "blue",
            serde_json::json!({"class": "local", "subnets": [{"cidr": "10.0.0.0/24"}]}),
        ),
    ];
    objects.extend(nodes.iter().map(|node| {
        let spec = serde_json::json!({
            "flavor": "tiny", "image": {"kind": "ClusterImage", "name": "guest"},
            "interfaces": [{"name": "eth0", "network": "blue"}],
            "nodeSelector": {"kubernetes.io/hostname": node},
        });
        object("Instance", &format!("on-{node}"), spec)
    }));
    let texts: Vec<_> = objects.iter().map(ToString::to_string).collect();
    Ok(texts.join("\n---\n"))
}
