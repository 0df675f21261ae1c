//! `KILONOVA_CLUSTER=existing make up`: the controllers, and the agent of this machine, for a cluster of the user's.
//!
//! What is put into the cluster is what the chart puts there but for the pods: CRDs, RBAC, policies. `make down` takes
//! it out again, but for what people's objects need: the CRDs, and this node's part while it has an instance.

mod checks;
mod cluster;
mod credentials;

use std::{
    fs, io,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use kilonova_crds::names;
use kilonova_e2e::{
    Error, Result, build,
    lab::{self, SYSTEM_NAMESPACE},
    process::{Launch, Namespaces, ProcessId, Service},
    repo,
    wait::{GENEROUS, wait_while},
};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::progress::Progress;
use cluster::Cluster;

/// The variable that chooses this, and its value.
const CLUSTER: (&str, &str) = ("KILONOVA_CLUSTER", "existing");
/// Names this machine's Node, where it is not the host's name.
const NODE_NAME: &str = "NODE_NAME";
/// Names the directory for logs, credentials and what runs, where it is not `.kilonova/existing`.
const DIR: &str = "KILONOVA_EXISTING_DIR";
/// How long a program may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// What runs, for who ends it.
#[derive(Serialize, Deserialize)]
struct Record {
    node: String,
    context: String,
    kubeconfig: Option<String>,
    processes: Vec<ProcessId>,
}

/// Whether the user's own cluster is asked for.
pub(crate) fn is_asked_for() -> bool {
    std::env::var(CLUSTER.0).is_ok_and(|value| value == CLUSTER.1)
}

fn dir() -> PathBuf {
    std::env::var_os(DIR).map_or_else(|| repo::work().join("existing"), PathBuf::from)
}

fn record_path() -> PathBuf {
    dir().join("record.json")
}

/// Starts controllers and agent, unless they run.
pub(crate) async fn up(progress: &Progress) -> Result<()> {
    if let Some(record) = read_record()? {
        if record.processes.len() == 2 && record.processes.iter().all(|p| p.is_alive()) {
            progress.say(&format!(
                "up already, in the cluster of context {}",
                record.context
            ));
            return Ok(());
        }
        end(&record.processes)?;
    }
    let cluster = Cluster::of_user(std::env::var(NODE_NAME).ok()).await?;
    progress.say(&format!(
        "the cluster of context {}, this machine as its node {}",
        cluster.context, cluster.node
    ));
    checks::machine().await?;
    checks::cluster(&cluster).await?;
    build::helm::ensure(|what| progress.say(what))?;
    let mut record = Record {
        node: cluster.node.clone(),
        context: cluster.context.clone(),
        kubeconfig: std::env::var("KUBECONFIG").ok(),
        processes: Vec::new(),
    };
    write_record(&record)?;
    progress.say("applying CRDs, RBAC and admission policies");
    lab::install_system(&cluster.client).await?;
    progress.say("starting controllers and agent");
    let services = start(&cluster, &mut record).await?;
    for service in services {
        service.detach();
    }
    progress.say(&format!("logs: {}", dir().join("logs").display()));
    Ok(())
}

/// Both programs; returns when the node is Ready.
async fn start(cluster: &Cluster, record: &mut Record) -> Result<[Service; 2]> {
    let controllers = service(
        "kilonova-controllers",
        &credentials::controllers(cluster).await?,
    )?;
    controllers.configure(|launch| {
        let args = [
            "--namespace",
            SYSTEM_NAMESPACE,
            "--metrics-addr",
            "127.0.0.1:9440",
        ];
        launch.args.extend(args.map(Into::into));
        launch
            .env
            .push(("POD_NAME".to_owned(), format!("{}-make-up", cluster.node)));
    });
    let agent = service("kilonova-agent", &credentials::agent(cluster).await?)?;
    agent.configure(|launch| {
        launch
            .args
            .extend(["--node-name".into(), cluster.node.clone().into()]);
    });
    for service in [&controllers, &agent] {
        record.processes.push(service.start()?);
        write_record(record)?;
    }
    let alive = || controllers.check().and_then(|()| agent.check());
    let what = format!("the Hypervisor {} to be Ready", cluster.node);
    wait_while(alive, &what, GENEROUS, || cluster.hypervisor_ready()).await?;
    Ok([controllers, agent])
}

fn service(name: &str, kubeconfig: &std::path::Path) -> Result<Service> {
    let launch = Launch::new(&Namespaces::machine()?, build::program(name)?)
        .args(["--kubeconfig".into(), kubeconfig.as_os_str().to_owned()]);
    Ok(Service::new(
        name,
        dir().join(format!("logs/{name}.log")),
        launch,
    ))
}

/// Ends what [`up`] started, and takes out of the cluster what it put there. Nothing happens where there is nothing.
pub(crate) async fn down(progress: &Progress) -> Result<()> {
    let Some(record) = read_record()? else {
        return Ok(());
    };
    progress.say("ending controllers and agent; guests run on");
    end(&record.processes)?;
    let cluster = Cluster::recorded(&record.context, record.kubeconfig.as_deref(), &record.node);
    let cluster = cluster.await?;
    if cluster.remove_node().await? {
        progress.say(&format!(
            "took out this machine's part: {}",
            names::node_namespace(&record.node)
        ));
    } else {
        progress.say(&format!(
            "instances of node {} are left, and stay: another make up finds them again",
            record.node
        ));
    }
    lab::remove_system(&cluster.client).await?;
    progress.say("took out RBAC and admission policies; the CRDs stay, with all objects of theirs");
    fs::remove_dir_all(dir()).map_err(Error::file("remove", dir()))
}

fn end(processes: &[ProcessId]) -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        for process in processes {
            process.signal(signal)?;
        }
        let until = Instant::now() + PATIENCE;
        while processes.iter().any(|p| p.is_alive()) && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
    }
    let left: Vec<_> = processes.iter().filter(|p| p.is_alive()).collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(Error::Timeout {
        what: "controllers and agent to end".to_owned(),
        limit: PATIENCE,
        last: format!("{left:?}"),
    })
}

fn read_record() -> Result<Option<Record>> {
    let path = record_path();
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(json(&path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

fn write_record(record: &Record) -> Result<()> {
    let path = record_path();
    fs::create_dir_all(dir()).map_err(Error::file("create", dir()))?;
    let text = serde_json::to_string_pretty(record).map_err(json(&path))?;
    lab::write_private(&path, &text)
}

fn json(path: &std::path::Path) -> impl FnOnce(serde_json::Error) -> Error {
    let what = path.display().to_string();
    move |source| Error::Json { what, source }
}
