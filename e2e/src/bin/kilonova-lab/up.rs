//! The one lab that runs on for a person, in `.kilonova/lab`.

use std::{
    fs::{self, File},
    io,
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use kilonova_e2e::{
    Error, Result, build,
    lab::{self, Lab, LabOptions, NodeOptions, Record, network},
    process::{Launch, Service},
    repo,
};
use nix::sys::signal::Signal;

use crate::progress::Progress;

/// How long the end of a lab may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The file of the guest image on the image server.
pub(crate) const IMAGE_FILE: &str = "guest.qcow2";

/// Whether [`up`] found a lab or made one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// It ran already.
    Found,
    /// It was made.
    Made,
}

/// The URL of the guest image, as nodes and controllers reach it.
pub(crate) fn image_url() -> String {
    format!(
        "http://{}:{}/{IMAGE_FILE}",
        network::CONTROL_PLANE,
        network::IMAGE_PORT
    )
}

/// Starts the lab unless it runs and answers. What is there of one that does not is ended and removed first.
pub(crate) async fn up(progress: &Progress) -> Result<Came> {
    let _lock = lock(progress)?;
    if is_up().await? {
        progress.say("the lab is up already");
        tell(progress);
        return Ok(Came::Found);
    }
    remove(progress)?;
    progress.say("starting etcd, kube-apiserver, kube-controller-manager, a node with libvirtd");
    let mut node = NodeOptions::new("node-1");
    "auto".clone_into(&mut node.virt_type);
    let options = LabOptions {
        dir: Some(repo::up_dir()),
        ..LabOptions::new("up").node(node)
    };
    let lab = Lab::start(options).await?;
    serve_image(&lab)?;
    leave_kubeconfig(&lab).await?;
    for (what, took) in lab.timings() {
        progress.part(what, *took);
    }
    lab.detach()?;
    tell(progress);
    Ok(Came::Made)
}

/// Ends the lab and removes what is left of it.
pub(crate) fn down(progress: &Progress) -> Result<()> {
    let _lock = lock(progress)?;
    remove(progress)
}

/// Runs a command on a node of the lab, its input and output being ours.
pub(crate) fn exec(node: &str, command: &[String]) -> Result<ExitCode> {
    let dir = repo::up_dir();
    let machines = Record::read(&dir)?
        .filter(Record::is_alive)
        .map(|record| record.machines(&dir))
        .unwrap_or_default();
    let missing = || Error::Missing {
        what: format!("the node {node}"),
        remedy: "run `make up`".to_owned(),
    };
    let machine = machines
        .iter()
        .find(|m| m.name() == node)
        .ok_or_else(missing)?;
    let status = machine.command(command).status();
    let status = status.map_err(|source| Error::Start {
        program: "nsenter".to_owned(),
        source,
    })?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

async fn is_up() -> Result<bool> {
    let kubeconfig = repo::up_kubeconfig();
    if !kubeconfig.is_file()
        || !Record::read(&repo::up_dir())?.is_some_and(|record| record.is_alive())
    {
        return Ok(false);
    }
    let client = lab::client_for(&kubeconfig, None).await?;
    Ok(
        tokio::time::timeout(Duration::from_secs(5), lab::ready(&client))
            .await
            .is_ok_and(|answer| answer.is_ok()),
    )
}

fn tell(progress: &Progress) {
    progress.say(&format!(
        "export KUBECONFIG={}",
        repo::up_kubeconfig().display()
    ));
    if which("kubectl").is_none() {
        progress.say(&format!(
            "export PATH={}:$PATH    # kubectl",
            repo::work().join("bin").display()
        ));
    }
}

/// A program in PATH.
fn which(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Serves the guest image to nodes and controllers.
fn serve_image(lab: &Lab) -> Result<()> {
    let image = build::GuestImage::find()?;
    let dir = lab.dir().join("images");
    fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
    std::os::unix::fs::symlink(&image.path, dir.join(IMAGE_FILE))
        .map_err(Error::file("create", dir.join(IMAGE_FILE)))?;
    let missing = || Error::Missing {
        what: "kilonova-lab".to_owned(),
        remedy: "run `make build`".to_owned(),
    };
    let launch = Launch::new(lab.namespaces(), repo::lab_binary().ok_or_else(missing)?)
        .args([
            "serve",
            "--listen",
            &format!("{}:{}", network::CONTROL_PLANE, network::IMAGE_PORT),
            "--dir",
        ])
        .args([dir]);
    let server = Service::new(
        "image server",
        lab.dir().join("logs/image-server.log"),
        launch,
    );
    server.start()?;
    server.detach();
    Ok(())
}

/// A kubeconfig that stands alone, for the user's own shell.
async fn leave_kubeconfig(lab: &Lab) -> Result<()> {
    let flat = lab
        .kubectl(["config", "view", "--raw", "--flatten"])
        .await?
        .checked()?;
    lab::write_private(&repo::up_kubeconfig(), &flat.stdout)?;
    build::ControlPlane::find()?
        .link_kubectl(&repo::work().join("bin"))
        .map(drop)
}

/// One at a time; the lock goes with the process, however it ends.
fn lock(progress: &Progress) -> Result<File> {
    let work = repo::work();
    fs::create_dir_all(&work).map_err(Error::file("create", &work))?;
    let path = work.join("lock");
    let file = File::create(&path).map_err(Error::file("create", &path))?;
    if file.try_lock().is_err() {
        progress.say("waiting for another make up or make down");
        file.lock().map_err(Error::file("lock", &path))?;
    }
    Ok(file)
}

/// Ends the lab, whole or half, and removes what it left.
fn remove(progress: &Progress) -> Result<()> {
    let dir = repo::up_dir();
    if let Some(record) = Record::read(&dir)?.filter(Record::is_alive) {
        progress.say("ending the lab and all that runs in it");
        end(&record)?;
    }
    remove_if_there(
        fs::remove_file(repo::up_kubeconfig()),
        &repo::up_kubeconfig(),
    )?;
    remove_if_there(fs::remove_dir_all(&dir), &dir)
}

fn end(record: &Record) -> Result<()> {
    record.init.signal(Signal::SIGKILL)?;
    let end = Instant::now() + PATIENCE;
    // `unshare` goes when the first process and all others of its namespace are gone.
    while record.init.is_alive() || record.launcher.is_alive() {
        if Instant::now() >= end {
            let last = format!("processes {} and {}", record.init.pid, record.launcher.pid);
            return Err(Error::Timeout {
                what: "the lab to end".to_owned(),
                limit: PATIENCE,
                last,
            });
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn remove_if_there(result: io::Result<()>, path: &Path) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
