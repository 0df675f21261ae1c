//! The answers of the image server: ranges, tags, and bodies that misbehave.

use std::{
    io::{self, SeekFrom},
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use futures::{StreamExt as _, stream};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};
use tokio_util::io::ReaderStream;

use super::{
    byte_range::ByteRange,
    image_server::{Behaviour, ImageRequest, Shared},
};

/// Time for what was given to hyper to be sent before a connection is cut.
const FLUSH: Duration = Duration::from_millis(100);

/// Answers one request.
pub(super) async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
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
    if behaviour == Behaviour::Circle {
        return Redirect::temporary(&path).into_response();
    }
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
        // A circle has no body; it is not asked for one.
        Behaviour::Normal | Behaviour::Circle => Body::from_stream(whole(length)),
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
