//! How our own programs are started in a lab: each with credentials of its own and no more.

use std::path::{Path, PathBuf};

use super::{
    failpoints::Failpoints,
    manifests::SYSTEM_NAMESPACE,
    network,
    node::Node,
    options::{LabOptions, Programs},
};
use crate::{
    Result,
    build::programs,
    process::{Launch, Namespaces, Service},
};

/// The port for metrics of an agent, on its node's loopback.
const AGENT_METRICS_PORT: u16 = 9110;

/// One replica of the controllers, not started. `index` counts from 0.
pub(super) fn controllers(
    namespaces: &Namespaces,
    dir: &Path,
    kubeconfig: &Path,
    index: u16,
    options: &LabOptions,
) -> Result<Service> {
    let name = format!("kilonova-controllers-{index}");
    let metrics = format!(
        "{}:{}",
        network::CONTROL_PLANE,
        network::METRICS_PORT + index
    );
    let mut launch = Launch::new(namespaces, program("kilonova-controllers", options))
        .args(["--kubeconfig".into(), kubeconfig.as_os_str().to_owned()])
        .args(["--namespace", SYSTEM_NAMESPACE, "--metrics-addr", &metrics])
        .args(&options.controllers_args)
        .env("POD_NAME", &name);
    launch.env.extend(options.controllers_env.iter().cloned());
    if options.programs == Programs::WithFailpoints {
        let failpoints = Failpoints::of_controllers(dir, index.into());
        launch.env.push(failpoints.environment()?);
    }
    let log = dir.join(format!("logs/{name}.log"));
    Ok(Service::new(&name, log, launch))
}

/// The agent of a node, not started.
pub(super) fn agent(
    node: &Node,
    dir: &Path,
    kubeconfig: &Path,
    lab: &LabOptions,
) -> Result<Service> {
    let options = node.options();
    let metrics = format!("127.0.0.1:{AGENT_METRICS_PORT}");
    let mut launch = Launch::new(node.namespaces(), program("kilonova-agent", lab))
        .args(["--kubeconfig".into(), kubeconfig.as_os_str().to_owned()])
        .args([
            "--node-name",
            node.name(),
            "--state-dir",
            "/var/lib/kilonova",
            "--run-dir",
            "/run/kilonova",
        ])
        .args([
            "--virt-type",
            &options.virt_type,
            "--libvirt-uri",
            "qemu:///system",
            "--metrics-addr",
            &metrics,
        ])
        .args(&options.agent_args);
    launch.env.extend(options.agent_env.iter().cloned());
    if lab.programs == Programs::WithFailpoints {
        let failpoints = Failpoints::of_agent(dir, node.name());
        launch.env.push(failpoints.environment()?);
    }
    let log = dir
        .join("logs")
        .join(node.name())
        .join("kilonova-agent.log");
    let name = format!("{} kilonova-agent", node.name());
    Ok(Service::new(name, log, launch))
}

fn program(name: &str, options: &LabOptions) -> PathBuf {
    match options.programs {
        Programs::Product => programs::path(name),
        Programs::WithFailpoints => programs::path_with_failpoints(name),
    }
}
