//! How a lab comes up: what depends on nothing else side by side.

use std::{
    fs,
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use kilonova_crds::names;
use kube::Client;

use super::{
    Lab, LabOptions, Programs, client_for, components,
    control_plane::{Plan, Services},
    init::Init,
    kubeconfig::{self, User},
    kubectl::Kubectl,
    machine::Machine,
    network,
    node::Node,
    pki::Pki,
    system,
};
use crate::{
    Error, Result,
    build::{ControlPlane, programs},
    process::{Launch, Namespaces, Service},
    repo,
    wait::{GENEROUS, wait_while},
};

/// Labs of this program so far, to tell their directories apart.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// The kubeconfig of the admin, for the machine.
pub(super) fn admin_kubeconfig(dir: &Path) -> PathBuf {
    dir.join("admin.kubeconfig")
}

/// How long each part took.
struct Clock(Vec<(String, Duration)>);

impl Clock {
    async fn time<T>(&mut self, what: &str, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let result = work.await;
        self.0.push((what.to_owned(), start.elapsed()));
        result
    }
}

impl Lab {
    /// Starts a lab and waits until all that was asked for is ready: the API server, libvirt on each node, the
    /// policies in force. (Not: that the agents have registered.)
    ///
    /// # Errors
    /// When a part does not come up; what was started is ended and removed again.
    pub async fn start(options: LabOptions) -> Result<Self> {
        // On the heap: it is a large future, and every test would carry it in its own.
        Box::pin(Self::start_all(options)).await
    }

    async fn start_all(options: LabOptions) -> Result<Self> {
        let programs = ControlPlane::find()?;
        check_programs(&options)?;
        let dir = prepare_dir(&options)?;
        let init = Init::start(&dir)?;
        let namespaces = init.namespaces();
        let pki = Pki::create(&dir.join("pki"), &options.kubelets)?;
        network::create(&namespaces, &dir).await?;
        let plan = Plan {
            programs: &programs,
            namespaces: &namespaces,
            dir: &dir,
            pki: &pki,
            options: &options,
        };
        let services = plan.services()?;
        let forwarder = forwarder(&init, &dir)?;
        let mut clock = Clock(Vec::new());
        let mut node_clock = Clock(Vec::new());
        let kubectl = Kubectl::new(programs.command("kubectl"), &admin_kubeconfig(&dir));
        let control_plane = async {
            let start = start_control_plane(&services, &forwarder, &dir, &pki);
            let client = clock.time("control plane", start).await?;
            if options.system {
                let install = system::install(&client);
                clock.time("CRDs, RBAC, policies in force", install).await?;
            }
            Ok(())
        };
        let indexed = (0_u8..).zip(&options.nodes);
        let nodes = indexed.map(|(index, node)| Node::start(&namespaces, &dir, index, node));
        let nodes = node_clock.time("nodes with libvirt", try_join_all(nodes));
        let ((), nodes) = tokio::try_join!(control_plane, nodes)?;
        let machines = nodes.iter().map(|node| Machine::clone(node));
        init.record().clone().with_nodes(machines).write(&dir)?;
        clock.0.extend(node_clock.0);
        let mut lab = Self {
            dir,
            pki,
            kubectl,
            services,
            forwarder,
            controllers: Vec::new(),
            agents: Vec::new(),
            nodes,
            timings: Vec::new(),
            namespaces,
            init: Some(init),
        };
        clock
            .time("controllers and agents", lab.start_components(&options))
            .await?;
        lab.timings = clock.0;
        Ok(lab)
    }

    async fn start_components(&mut self, options: &LabOptions) -> Result<()> {
        let client = self.client().await?;
        for node in &options.nodes {
            system::create_node(&client, node).await?;
        }
        if !options.system {
            return Ok(());
        }
        let dir = self.dir.join("credentials");
        fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
        self.start_controllers(&client, &dir, options).await?;
        self.start_agents(&client, &dir, options).await
    }

    async fn start_controllers(
        &mut self,
        client: &Client,
        dir: &Path,
        options: &LabOptions,
    ) -> Result<()> {
        if options.controllers == 0 {
            return Ok(());
        }
        let kubeconfig = dir.join("controllers.kubeconfig");
        system::credentials(
            client,
            &self.pki,
            names::CONTROLLERS_SERVICE_ACCOUNT,
            None,
            &kubeconfig,
        )
        .await?;
        for index in (0_u16..).take(options.controllers) {
            let service =
                components::controllers(&self.namespaces, &self.dir, &kubeconfig, index, options)?;
            service.start()?;
            self.controllers.push(service);
        }
        Ok(())
    }

    async fn start_agents(
        &mut self,
        client: &Client,
        dir: &Path,
        options: &LabOptions,
    ) -> Result<()> {
        for node in &self.nodes {
            let kubeconfig = dir.join(format!("agent-{}.kubeconfig", node.name()));
            let account = names::AGENT_SERVICE_ACCOUNT;
            system::credentials(client, &self.pki, account, Some(node.name()), &kubeconfig).await?;
            let agent = components::agent(node, &self.dir, &kubeconfig, options)?;
            if node.options().agent {
                agent.start()?;
            }
            self.agents.push(agent);
        }
        Ok(())
    }
}

/// That what shall be started has been built: said before anything is started.
fn check_programs(options: &LabOptions) -> Result<()> {
    let program = match options.programs {
        Programs::Product => programs::program,
        Programs::WithFailpoints => programs::program_with_failpoints,
    };
    if options.system && options.controllers > 0 {
        program("kilonova-controllers")?;
    }
    if options.system && options.nodes.iter().any(|node| node.agent) {
        program("kilonova-agent")?;
    }
    Ok(())
}

fn prepare_dir(options: &LabOptions) -> Result<PathBuf> {
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let own = || repo::work().join(format!("labs/{}-{}-{count}", options.name, process::id()));
    let dir = options.dir.clone().unwrap_or_else(own);
    fs::create_dir_all(dir.join("logs")).map_err(Error::file("create", &dir))?;
    Ok(dir)
}

/// The forwarder, whose listening socket is the only thing of a lab outside its network namespaces.
fn forwarder(init: &Init, dir: &Path) -> Result<Service> {
    let missing = || Error::Missing {
        what: "the program kilonova-lab".to_owned(),
        remedy: "run `make build`".to_owned(),
    };
    let to = format!("{}:{}", network::CONTROL_PLANE, network::API_PORT);
    // /proc is the lab's own there: process 1 is its first.
    let launch = Launch::new(
        &Namespaces::lab_on_host_network(init.process()),
        repo::lab_binary().ok_or_else(missing)?,
    )
    .args([
        "forward",
        "--listen",
        "127.0.0.1:0",
        "--netns",
        "/proc/1/ns/net",
        "--to",
        &to,
        "--report",
    ])
    .args([forwarder_report(dir)]);
    Ok(Service::new(
        "forwarder",
        dir.join("logs/forwarder.log"),
        launch,
    ))
}

fn forwarder_report(dir: &Path) -> PathBuf {
    dir.join("forwarder.address")
}

async fn start_control_plane(
    services: &Services,
    forwarder: &Service,
    dir: &Path,
    pki: &Pki,
) -> Result<Client> {
    services.etcd.start()?;
    services.apiserver.start()?;
    forwarder.start()?;
    let address = wait_while(
        || forwarder.check(),
        "the forwarder to listen",
        GENEROUS,
        || async {
            let text =
                fs::read_to_string(forwarder_report(dir)).map_err(|error| error.to_string())?;
            text.parse::<SocketAddr>()
                .map_err(|error| error.to_string())
        },
    )
    .await?;
    let kubeconfig = admin_kubeconfig(dir);
    kubeconfig::write(
        &kubeconfig,
        &format!("https://{address}"),
        pki,
        &User::Certificate("admin"),
    )?;
    let client = client_for(&kubeconfig, None).await?;
    let alive = || {
        services
            .etcd
            .check()
            .and_then(|()| services.apiserver.check())
    };
    wait_while(alive, "kube-apiserver to be ready", GENEROUS, || {
        ready(&client)
    })
    .await?;
    services.controller_manager.start()?;
    if let Some(scheduler) = &services.scheduler {
        scheduler.start()?;
    }
    Ok(client)
}

/// Whether the API server says that it is ready; else what it says.
///
/// # Errors
/// The answer as text, or why there is none.
pub async fn ready(client: &Client) -> std::result::Result<(), String> {
    let request = axum::http::Request::get("/readyz")
        .body(Vec::new())
        .map_err(|error| error.to_string())?;
    client
        .request_text(request)
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}
