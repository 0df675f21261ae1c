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

use crate::{kept::lock, progress::Progress};
use cluster::Cluster;

/// The variable that chooses this, and its value.
const CLUSTER: &str = "KILONOVA_CLUSTER";
const EXISTING: &str = "existing";
/// Names this machine's Node, where it is not the host's name.
const NODE_NAME: &str = "NODE_NAME";
/// Names the directory for logs, credentials and what runs, where it is not `.kilonova/existing`.
const DIR: &str = "KILONOVA_EXISTING_DIR";
/// How long the cluster, and libvirt, may take to answer.
const ANSWER: Duration = Duration::from_secs(20);
/// How long a program may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// What runs, for who ends it.
#[derive(Serialize, Deserialize)]
struct Record {
    /// The cluster itself, by the uid of its namespace kube-system: a context may lead elsewhere tomorrow.
    cluster: String,
    node: String,
    context: String,
    kubeconfig: Option<String>,
    /// Namespaces of the system that were not there before.
    namespaces: Vec<String>,
    processes: Vec<ProcessId>,
}

impl Record {
    fn is_running(&self) -> bool {
        self.processes.len() == 2 && self.processes.iter().all(|p| p.is_alive())
    }

    /// The cluster, if it still is the one.
    async fn cluster(&self) -> Result<Cluster> {
        let cluster = Cluster::recorded(&self.context, self.kubeconfig.as_deref(), &self.node);
        let cluster = cluster.await.map_err(|error| Error::Missing {
            what: format!("the cluster that make up worked on ({error})"),
            remedy: forget(),
        })?;
        self.is_of(&cluster)?;
        Ok(cluster)
    }

    /// Fails when a cluster is another than the one that was written down.
    fn is_of(&self, cluster: &Cluster) -> Result<()> {
        if self.cluster == cluster.id {
            return Ok(());
        }
        Err(Error::Missing {
            what: format!(
                "the cluster that make up worked on (kube-system's uid {}) behind the context {:?}",
                self.cluster, cluster.context
            ),
            remedy: forget(),
        })
    }
}

/// How to go on without a cluster that is not there any more.
fn forget() -> String {
    format!(
        "point KUBECONFIG at it and run make down; or, where it is gone, remove {}",
        record_path().display()
    )
}

/// Whether the user's own cluster is asked for.
///
/// # Errors
/// When the variable has a value that means nothing.
pub(crate) fn is_asked_for() -> Result<bool> {
    match std::env::var(CLUSTER) {
        Ok(value) if value == EXISTING => Ok(true),
        Ok(value) if !value.is_empty() => Err(Error::Missing {
            what: format!("a meaning of {CLUSTER}={value}"),
            remedy: format!("say {CLUSTER}={EXISTING}, or leave it out for a lab"),
        }),
        _ => Ok(false),
    }
}

fn dir() -> PathBuf {
    std::env::var_os(DIR).map_or_else(|| repo::work().join("existing"), PathBuf::from)
}

fn record_path() -> PathBuf {
    dir().join("record.json")
}

/// Starts controllers and agent, unless they run.
pub(crate) async fn up(progress: &Progress) -> Result<()> {
    let _lock = lock(progress)?;
    let before = read_record()?;
    if let Some(record) = &before {
        if record.is_running() {
            let cluster = record.cluster().await?;
            // Those of before end some day; both programs read their token's file again and again.
            credentials::controllers(&cluster).await?;
            credentials::agent(&cluster).await?;
            progress.say(&format!(
                "up already, in the cluster of context {}; both have new tokens",
                record.context
            ));
            return Ok(());
        }
        end(&record.processes)?;
    }
    let cluster = Cluster::of_user(std::env::var(NODE_NAME).ok()).await?;
    if let Some(record) = &before {
        record.is_of(&cluster)?;
    }
    progress.say(&format!(
        "the cluster of context {}, this machine as its node {}",
        cluster.context, cluster.node
    ));
    checks::machine().await?;
    checks::cluster(&cluster).await?;
    build::helm::ensure(|what| progress.say(what))?;
    let missing = lab::missing_namespaces(&cluster.client).await?;
    let mut record = Record {
        cluster: cluster.id.clone(),
        node: cluster.node.clone(),
        context: cluster.context.clone(),
        kubeconfig: std::env::var("KUBECONFIG").ok().filter(|s| !s.is_empty()),
        namespaces: before.map_or(missing, |record| record.namespaces),
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
    let _lock = lock(progress)?;
    let Some(record) = read_record()? else {
        return Ok(());
    };
    progress.say("ending controllers and agent; guests run on");
    end(&record.processes)?;
    let cluster = record.cluster().await?;
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
    if let Some(other) = cluster.another_node().await? {
        progress.say(&format!(
            "RBAC and admission policies stay: node {other} needs them"
        ));
    } else {
        lab::remove_system(&cluster.client, &record.namespaces).await?;
        progress
            .say("took out RBAC and admission policies; the CRDs stay, with all objects of theirs");
    }
    forget_all()
}

/// Removes what [`up`] wrote, and nothing else that may be in that directory.
fn forget_all() -> Result<()> {
    for name in ["logs", "credentials"] {
        let path = dir().join(name);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(Error::file("remove", path))?;
        }
    }
    let record = record_path();
    fs::remove_file(&record).map_err(Error::file("remove", record))?;
    match fs::remove_dir(dir()) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
            Err(Error::file("remove", dir())(error))
        }
        _ => Ok(()),
    }
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
