//! An HTTP server for images, with range requests, that counts what is asked of it and misbehaves when told to.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use axum::Router;
use futures::future;
use nix::sched::{CloneFlags, setns};
use parking_lot::Mutex;

use super::image_answer::answer;
use crate::{Error, Result, process::Namespaces};

/// What the server does with the body of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// Sends it.
    #[default]
    Normal,
    /// Sends so many bytes, then nothing more, and keeps the connection.
    StallAfter(u64),
    /// Sends so many bytes, then cuts the connection.
    DropAfter(u64),
    /// Redirects to where it was asked.
    Circle,
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRequest {
    /// `GET` or `HEAD`.
    pub method: String,
    /// The path, with its leading slash.
    pub path: String,
    /// The `Range` header, when there was one that counted.
    pub range: Option<String>,
}

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub struct ImageServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Closing this ends the server.
    _running: tokio::sync::oneshot::Sender<()>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) behaviours: Mutex<HashMap<String, Behaviour>>,
    pub(super) requests: Mutex<Vec<ImageRequest>>,
}

impl ImageServer {
    /// Serves the files of `dir` in the network namespace of a lab, from a thread of its own, so that it serves
    /// whatever the test's runtime does.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(
        namespaces: &Namespaces,
        address: SocketAddr,
        dir: impl Into<PathBuf>,
    ) -> Result<Self> {
        let network = namespaces.network()?;
        let shared = Arc::new(Shared {
            dir: dir.into(),
            behaviours: Mutex::default(),
            requests: Mutex::default(),
        });
        let (running, ended) = tokio::sync::oneshot::channel();
        let (answer, answered) = std::sync::mpsc::channel();
        let state = Arc::clone(&shared);
        thread::spawn(move || {
            let ready = setns(&network, CloneFlags::CLONE_NEWNET)
                .map_err(Error::system("enter the lab's network namespace"))
                .and_then(|()| bind(address));
            let listener = ready.map_err(|error| drop(answer.send(Err(error))));
            let Ok((listener, address)) = listener else {
                return;
            };
            let serve = run(state, listener, async {
                let _ = ended.await; // an error is the sender's drop: the same
            });
            let _ = answer.send(Ok(address)); // nobody waits: then nobody needs the server either
            serve();
        });
        let gone = |_| Error::Missing {
            what: "the image server's thread".to_owned(),
            remedy: "see the log".to_owned(),
        };
        let address = answered.recv().map_err(gone)??;
        Ok(Self {
            address,
            shared,
            _running: running,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a file.
    #[must_use]
    pub fn url(&self, file: &str) -> String {
        format!("http://{}/{file}", self.address)
    }

    /// The directory that is served.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Changes what becomes of answers for a file from now on; those under way stay as they are.
    pub fn behave(&self, file: &str, behaviour: Behaviour) {
        self.shared
            .behaviours
            .lock()
            .insert(format!("/{file}"), behaviour);
    }

    /// The requests for a file so far.
    #[must_use]
    pub fn requests(&self, file: &str) -> Vec<ImageRequest> {
        let path = format!("/{file}");
        self.shared
            .requests
            .lock()
            .iter()
            .filter(|r| r.path == path)
            .cloned()
            .collect()
    }
}

/// Serves `dir` at `address` until the process ends: for `make up`, whose server outlives us.
///
/// # Errors
/// When the address cannot be had.
pub fn serve_forever(address: SocketAddr, dir: PathBuf) -> Result<()> {
    let shared = Arc::new(Shared {
        dir,
        behaviours: Mutex::default(),
        requests: Mutex::default(),
    });
    let (listener, _) = bind(address)?;
    run(shared, listener, future::pending())();
    Ok(())
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let failed = |source| Error::Start {
        program: format!("an HTTP server at {address}"),
        source,
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// The server's loop, to be called on its own thread.
fn run(
    shared: Arc<Shared>,
    listener: TcpListener,
    end: impl Future<Output = ()> + Send + 'static,
) -> impl FnOnce() {
    move || {
        let serve = async {
            let router = Router::new().fallback(answer).with_state(shared);
            let listener = tokio::net::TcpListener::from_std(listener)?;
            // Not gracefully: an answer that stalls must not keep the server.
            tokio::select! {
                ended = axum::serve(listener, router).into_future() => ended,
                () = end => Ok(()),
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Err(error) = runtime.and_then(|runtime| runtime.block_on(serve)) {
            tracing::error!(%error, "the image server ended");
        }
    }
}
