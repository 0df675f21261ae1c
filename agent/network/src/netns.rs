//! Network namespaces with a name, as iproute2 has them: a file under `/run/netns` that the kernel's
//! namespace is mounted on. It is there as long as the file is, whoever made it.
//!
//! A thread that enters one ends in it: threads of the runtime never do.

use kilonova_agent_core::network::Netns;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Where iproute2 keeps them too, so that `ip netns` shows them.
const DIRECTORY: &str = "/run/netns";

/// Why a netns cannot be made, entered or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// A file could not be made, opened or removed.
    #[error("{path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused a step.
    #[error("{what} for {path}")]
    Kernel {
        /// Which step.
        what: &'static str,
        /// The netns's file.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// No thread could be started.
    #[error("starting a thread")]
    Thread(#[source] io::Error),
    /// The thread ended without an answer.
    #[error("the thread in the netns ended early")]
    Lost,
}

/// Which kernel object it is: device and inode of the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetnsId(u64, u64);

/// The file of a netns.
pub fn path(netns: &Netns) -> PathBuf {
    Path::new(DIRECTORY).join(netns.as_str())
}

/// Whether a netns is there: its file with a namespace mounted on it.
pub fn exists(netns: &Netns) -> bool {
    statfs(&path(netns)).is_ok_and(|fs| fs.filesystem_type() == NSFS_MAGIC)
}

/// Which kernel object the file of a namespace stands for.
pub fn id(path: &Path) -> Option<NetnsId> {
    let meta = std::fs::metadata(path).ok()?;
    Some(NetnsId(meta.dev(), meta.ino()))
}

/// The netns of Segments that have a file, whether or not a namespace is on it.
pub fn list() -> Result<Vec<Netns>, NetnsError> {
    let directory = Path::new(DIRECTORY);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(file(directory, source)),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| Netns::parse(&name).ok()).collect())
}

/// The directory that the files of netns are in; makes it.
pub fn directory() -> Result<&'static Path, NetnsError> {
    let directory = Path::new(DIRECTORY);
    std::fs::create_dir_all(directory).map_err(|source| file(directory, source))?;
    Ok(directory)
}

/// Opens the file of a netns.
pub fn open(netns: &Netns) -> Result<File, NetnsError> {
    let path = path(netns);
    File::open(&path).map_err(|source| file(&path, source))
}

/// Makes a netns, unless it is there.
pub async fn make(netns: &Netns) -> Result<(), NetnsError> {
    if exists(netns) {
        return Ok(());
    }
    let path = path(netns);
    on_thread(move || make_here(&path)).await?
}

/// Runs on a thread of its own, which ends in the new netns.
fn make_here(path: &Path) -> Result<(), NetnsError> {
    share_directory()?;
    File::create(path).map_err(|source| file(path, source))?;
    let kernel = |what| {
        move |source| NetnsError::Kernel {
            what,
            path: path.to_owned(),
            source,
        }
    };
    unshare(CloneFlags::CLONE_NEWNET).map_err(kernel("unshare"))?;
    mount(
        Some("/proc/thread-self/ns/net"),
        path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .map_err(kernel("mount"))
}

/// Makes the directory a mount of its own whose mounts are seen wherever it is seen: in the node's
/// mount namespace as in the agent's, whichever of them made it.
fn share_directory() -> Result<(), NetnsError> {
    let directory = directory()?;
    let none = None::<&str>;
    let share = MsFlags::MS_SHARED | MsFlags::MS_REC;
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    let shared = match mount(none, directory, none, share, none) {
        Err(Errno::EINVAL) => mount(Some(directory), directory, none, bind, none)
            .and_then(|()| mount(none, directory, none, share, none)),
        other => other,
    };
    shared.map_err(|source| NetnsError::Kernel {
        what: "sharing mounts",
        path: directory.to_owned(),
        source,
    })
}

/// Removes a netns's file; the namespace goes with the last that is in it. No error where there is
/// none.
pub fn remove(netns: &Netns) -> Result<(), NetnsError> {
    let path = path(netns);
    loop {
        match umount2(&path, MntFlags::MNT_DETACH) {
            // One mount may lie on another.
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(source) => {
                return Err(NetnsError::Kernel {
                    what: "unmount",
                    path,
                    source,
                });
            }
        }
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(&path, error)),
        _ => Ok(()),
    }
}

/// Does something inside a netns, or in the one of this process where none is named. The runtime is
/// at hand there.
pub async fn within<T, F>(netns: Option<&Netns>, work: F) -> Result<T, NetnsError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let Some(netns) = netns else {
        return on_thread(work).await;
    };
    let (path, namespace) = (path(netns), open(netns)?);
    on_thread(move || {
        enter(&path, &namespace)?;
        Ok(work())
    })
    .await?
}

/// Does something in a new netns without a name, which goes with the last that is open in it. What
/// the future starts, threads and programs, is there too; the runtime is at hand.
pub async fn within_new<T, F>(work: F) -> Result<T, NetnsError>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let runtime = Handle::current();
    on_thread(move || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|source| NetnsError::Kernel {
            what: "unshare",
            path: PathBuf::from("a new netns"),
            source,
        })?;
        Ok(runtime.block_on(work))
    })
    .await?
}

/// Takes this thread into a netns, for the rest of its life.
pub fn enter(path: &Path, namespace: &File) -> Result<(), NetnsError> {
    setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|source| NetnsError::Kernel {
        what: "setns",
        path: path.to_owned(),
        source,
    })
}

/// Does something on a thread of its own.
async fn on_thread<T, F>(work: F) -> Result<T, NetnsError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let runtime = Handle::current();
    std::thread::Builder::new()
        .name("netns".to_owned())
        .spawn(move || {
            let _runtime = runtime.enter();
            // Nobody waits any more when the caller was given up.
            let _ = answer.send(work());
        })
        .map_err(NetnsError::Thread)?;
    answered.await.map_err(|_| NetnsError::Lost)
}

fn file(path: &Path, source: io::Error) -> NetnsError {
    NetnsError::File {
        path: path.to_owned(),
        source,
    }
}
