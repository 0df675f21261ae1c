//! An HTTP server for images, with range requests, that counts what is asked of it and misbehaves when told to.

use std::{
    collections::HashMap,
    io::{self, SeekFrom},
    net::{SocketAddr, TcpListener},
    path::{Component, Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, future, stream};
use nix::sched::{CloneFlags, setns};
use parking_lot::Mutex;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};
use tokio_util::io::ReaderStream;

use super::byte_range::ByteRange;
use crate::{Error, Result, process::Namespaces};

/// Time for what was given to hyper to be sent before a connection is cut.
const FLUSH: Duration = Duration::from_millis(100);

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
struct Shared {
    dir: PathBuf,
    behaviours: Mutex<HashMap<String, Behaviour>>,
    requests: Mutex<Vec<ImageRequest>>,
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

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let Some(file) = inside(&shared.dir, &path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let behaviour = shared
        .behaviours
        .lock()
        .get(&path)
        .copied()
        .unwrap_or_default();
    match send(&file, request.method(), request.headers(), behaviour).await {
        Ok((response, range)) => {
            let method = request.method().to_string();
            shared.requests.lock().push(ImageRequest {
                method,
                path,
                range,
            });
            response
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            StatusCode::NOT_FOUND.into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The file of a path, when the path leads nowhere but into the directory.
fn inside(dir: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path.trim_start_matches('/'));
    let plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    (plain && relative.components().next().is_some()).then(|| dir.join(relative))
}

async fn send(
    path: &Path,
    method: &Method,
    headers: &HeaderMap,
    behaviour: Behaviour,
) -> io::Result<(Response, Option<String>)> {
    let mut file = File::open(path).await?;
    let metadata = file.metadata().await?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let length = metadata.len();
    let tag = tag(&metadata);
    let asked = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok());
    // If-Range: the range counts only while the file is the one that was begun (RFC 9110, 13.1.5).
    let same = headers
        .get(header::IF_RANGE)
        .is_none_or(|value| *value == tag);
    let range = asked
        .filter(|_| same)
        .map(|text| ByteRange::parse(text, length));
    if let Some(Err(_)) = range {
        let end = HeaderValue::from_str(&format!("bytes */{length}")).map_err(io::Error::other)?;
        let response = (
            StatusCode::RANGE_NOT_SATISFIABLE,
            [(header::CONTENT_RANGE, end)],
        )
            .into_response();
        return Ok((response, asked.map(str::to_owned)));
    }
    let range = range.and_then(Result::ok);
    let part = range.unwrap_or(ByteRange { first: 0, length });
    let mut builder = Response::builder()
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, tag)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, part.length);
    if range.is_some() {
        builder = builder
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, part.content_range(length));
    }
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        file.seek(SeekFrom::Start(part.first)).await?;
        body(file, part.length, behaviour)
    };
    let response = builder.body(body).map_err(io::Error::other)?;
    Ok((response, range.and(asked).map(str::to_owned)))
}

/// Changes when the file does.
fn tag(metadata: &std::fs::Metadata) -> HeaderValue {
    use std::os::unix::fs::MetadataExt as _;
    let text = format!(
        "\"{:x}-{:x}-{:x}\"",
        metadata.ino(),
        metadata.len(),
        metadata.mtime_nsec() ^ metadata.mtime()
    );
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("\"\""))
}

fn body(file: File, length: u64, behaviour: Behaviour) -> Body {
    let whole = |length| ReaderStream::with_capacity(file.take(length), 256 * 1024);
    match behaviour {
        Behaviour::Normal => Body::from_stream(whole(length)),
        Behaviour::StallAfter(bytes) => {
            Body::from_stream(whole(length.min(bytes)).chain(stream::pending()))
        }
        Behaviour::DropAfter(bytes) => {
            let cut = stream::once(async {
                // hyper sends what it has when the body has no more at the moment, and drops it at an error.
                tokio::time::sleep(FLUSH).await;
                Err(io::Error::other("cut by the test"))
            });
            Body::from_stream(whole(length.min(bytes)).chain(cut))
        }
    }
}
