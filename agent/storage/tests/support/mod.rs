//! What these tests share: a state directory, images made by `qemu-img`, and a server of them that
//! can misbehave.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests, each using a part"
)]

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use futures::{StreamExt, TryStreamExt, stream};
use kilonova_agent_storage::{ImageRequest, Storage};
use kilonova_common::http_source::{AddressPolicy, HttpSource, Timeouts};
use kilonova_crds::Quantity;
use kilonova_crds::node::DomainImage;
use kilonova_crds::v1alpha1::{ImageFormat, ImageKind};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

pub const MIB: u64 = 1 << 20;

/// A state directory of its own.
pub struct Node {
    pub storage: Storage,
    pub directory: TempDir,
}

pub fn node() -> Node {
    node_in(TempDir::new().unwrap())
}

pub fn node_in(directory: TempDir) -> Node {
    node_with(directory, &["127.0.0.0/8"])
}

/// A node that images may come to from these addresses too.
pub fn node_with(directory: TempDir, allow: &[&str]) -> Node {
    let timeouts = Timeouts {
        stall: Duration::from_secs(1),
        ..Timeouts::default()
    };
    let policy = AddressPolicy {
        allow: allow.iter().map(|net| net.parse().unwrap()).collect(),
        deny: Vec::new(),
    };
    let http = HttpSource::new(timeouts, policy).unwrap();
    let storage = Storage::open(&directory.path().join("state"), http).unwrap();
    Node { storage, directory }
}

impl Node {
    /// Names of the files in the cache.
    pub fn cached(&self) -> Vec<String> {
        list(&self.directory.path().join("state/images"))
    }
}

pub fn list(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Runs a tool and gives what it wrote.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A qcow2 image of a disk of 64 MiB with `mib` MiB of data that cannot be compressed away.
pub fn qcow2(mib: u64) -> Vec<u8> {
    let directory = TempDir::new().unwrap();
    let raw = directory.path().join("raw");
    let mut seed = 0x9e37_79b9_u32;
    let words = std::iter::repeat_with(|| {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed
    });
    let words = words.take(usize::try_from(mib * MIB / 4).unwrap());
    let data: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    std::fs::write(&raw, data).unwrap();
    let raw = raw.to_str().unwrap();
    let image = directory.path().join("image");
    run("truncate", &["-s", "64M", raw]);
    let convert = ["convert", "-f", "raw", "-O", "qcow2", raw];
    run(
        "qemu-img",
        &[&convert[..], &[image.to_str().unwrap()]].concat(),
    );
    std::fs::read(image).unwrap()
}

pub fn sha256(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// A request of an image of 64 MiB in qcow2.
pub fn request(url: &str, checksum: &str) -> ImageRequest {
    request_of(ImageKind::Image, url, checksum)
}

/// The same, named by this kind of image.
pub fn request_of(kind: ImageKind, url: &str, checksum: &str) -> ImageRequest {
    let image = DomainImage {
        kind,
        url: url.to_owned(),
        checksum: checksum.to_owned(),
        format: ImageFormat::Qcow2,
        virtual_size: Quantity::from_bytes(64 * MIB),
    };
    ImageRequest::try_from(&image).unwrap()
}

/// How a request is answered; after the last, all are answered well.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Well,
    /// This many bytes, then the connection breaks.
    Break(usize),
    /// This many bytes, then nothing.
    Stall(usize),
    /// All of it, whatever range was asked for.
    Whole,
    Status(u16),
    /// What was asked for, then zeros without an end; its length is told in `Content-Range` only.
    Endless,
    /// This many bytes, then one now and then, for ever.
    Drip(usize),
    /// Piece by piece, with a pause between two.
    Slowly(Duration),
}

/// A server of one file.
pub struct Server {
    pub url: String,
    state: Arc<Served>,
}

struct Served {
    file: Mutex<(Bytes, String)>,
    answers: Mutex<VecDeque<Answer>>,
    /// `Range` and `If-Range` of each request.
    seen: Mutex<Vec<(Option<String>, Option<String>)>>,
    /// Bytes of bodies that were given to the connection.
    sent: Arc<AtomicU64>,
}

impl Server {
    pub async fn start(file: Vec<u8>, answers: &[Answer]) -> Self {
        let state = Arc::new(Served {
            file: Mutex::new((file.into(), "\"v1\"".to_owned())),
            answers: Mutex::new(answers.iter().copied().collect()),
            seen: Mutex::default(),
            sent: Arc::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/image", listener.local_addr().unwrap());
        let router = Router::new().fallback(serve).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, state }
    }

    pub fn replace(&self, file: Vec<u8>, etag: &str) {
        *self.state.file.lock().unwrap() = (file.into(), etag.to_owned());
    }

    /// How many bytes of the file were sent, over all answers.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }

    pub fn seen(&self) -> Vec<(Option<String>, Option<String>)> {
        self.state.seen.lock().unwrap().clone()
    }
}

async fn serve(State(state): State<Arc<Served>>, headers: HeaderMap) -> Response<Body> {
    let text = |name| Some(headers.get(name)?.to_str().unwrap().to_owned());
    let (range, if_range) = (text(header::RANGE), text(header::IF_RANGE));
    let seen = (range.clone(), if_range.clone());
    state.seen.lock().unwrap().push(seen);
    let next = state.answers.lock().unwrap().pop_front();
    let answer = next.unwrap_or(Answer::Well);
    let (file, etag) = state.file.lock().unwrap().clone();
    if let Answer::Status(status) = answer {
        let status = StatusCode::from_u16(status).unwrap();
        return Response::builder()
            .status(status)
            .body(Body::empty())
            .unwrap();
    }
    let fresh = if_range.is_none_or(|tag| tag == etag) && !matches!(answer, Answer::Whole);
    let from = range.filter(|_| fresh).map_or(0, |range| {
        let from = range.strip_prefix("bytes=").unwrap();
        from.strip_suffix('-').unwrap().parse().unwrap()
    });
    let response = Response::builder().header(header::ETAG, etag);
    if from > 0 && from >= file.len() {
        let response = response.status(StatusCode::RANGE_NOT_SATISFIABLE);
        return response.body(Body::empty()).unwrap();
    }
    let (end, size) = (file.len() - 1, file.len());
    let response = if matches!(answer, Answer::Endless) {
        response
    } else {
        response.header(header::CONTENT_LENGTH, size - from)
    };
    let response = if from > 0 {
        let range = format!("bytes {from}-{end}/{size}");
        let response = response.header(header::CONTENT_RANGE, range);
        response.status(StatusCode::PARTIAL_CONTENT)
    } else {
        response
    };
    let body = body(&file.slice(from..), answer).into_data_stream();
    let counted = body.inspect_ok(move |piece| {
        state.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
    });
    response.body(Body::from_stream(counted)).unwrap()
}

fn body(file: &Bytes, answer: Answer) -> Body {
    let whole = file.clone();
    let pieces = (0..file.len())
        .step_by(64 << 10)
        .map(move |at| whole.slice(at..whole.len().min(at + (64 << 10))));
    let good = |count: usize| {
        let file = file.slice(..count.min(file.len()));
        stream::iter([Ok::<_, std::io::Error>(file)])
    };
    match answer {
        Answer::Well | Answer::Whole | Answer::Status(_) => {
            Body::from_stream(stream::iter(pieces.map(Ok::<_, std::io::Error>)))
        }
        Answer::Break(count) => {
            // A moment between the two, or the bytes are lost with the connection.
            let broken = stream::once(async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                Err(std::io::Error::other("broken"))
            });
            Body::from_stream(good(count).chain(broken))
        }
        Answer::Stall(count) => Body::from_stream(good(count).chain(stream::pending())),
        Answer::Endless => {
            let zeros = stream::repeat_with(|| Ok(Bytes::from_static(&[0; 4096])));
            Body::from_stream(good(file.len()).chain(zeros))
        }
        Answer::Drip(count) => {
            let drops = stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Some((Ok(Bytes::from_static(&[0])), ()))
            });
            Body::from_stream(good(count).chain(drops))
        }
        Answer::Slowly(pause) => {
            Body::from_stream(stream::iter(pieces).then(move |piece| async move {
                tokio::time::sleep(pause).await;
                Ok::<_, std::io::Error>(piece)
            }))
        }
    }
}
