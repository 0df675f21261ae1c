#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request};
use axum::http::header::{CONTENT_LENGTH, LOCATION};
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::get;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SIZE: usize = 200_000;

fn file() -> Vec<u8> {
    (0..SIZE).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

/// A server of [`file`]: `/ranges` with them, `/plain` without, `/hops/N` redirects N times.
async fn ranges(headers: HeaderMap) -> axum::response::Response {
    let tag = [(ETAG, "\"v1\"")];
    let range = headers.get(RANGE).map(|r| r.to_str().unwrap().to_owned());
    let fresh = headers.get(IF_RANGE).is_none_or(|tag| tag == "\"v1\"");
    let Some(range) = range.filter(|_| fresh) else {
        return (tag, file()).into_response();
    };
    let (start, end) = range
        .strip_prefix("bytes=")
        .unwrap()
        .split_once('-')
        .unwrap();
    let start: usize = start.parse().unwrap();
    let end = end.parse().map_or(SIZE, |last: usize| SIZE.min(last + 1));
    if start >= SIZE {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let content_range = format!("bytes {start}-{}/{SIZE}", end - 1);
    let status = StatusCode::PARTIAL_CONTENT;
    let part = file()[start..end].to_vec();
    (status, tag, [(CONTENT_RANGE, content_range)], part).into_response()
}

async fn hops(Path(left): Path<usize>) -> axum::response::Response {
    let to = match left {
        0 => return file().into_response(),
        99 => "http://169.254.169.254/latest/".to_owned(),
        98 => "ftp://127.0.0.1/".to_owned(),
        97 => "/hops/97".to_owned(),
        96 => "http://ana:secret@127.0.0.1/".to_owned(),
        _ => format!("/hops/{}", left - 1),
    };
    (StatusCode::FOUND, [(LOCATION, to)]).into_response()
}

/// Redirects to the text behind the question mark.
async fn to(RawQuery(to): RawQuery) -> axum::response::Response {
    (StatusCode::FOUND, [(LOCATION, to.unwrap())]).into_response()
}

/// A body of this size and no announced length, of which the headers tell something else.
fn chunked(range: &str, bytes: usize) -> axum::response::Response {
    let pieces = (0..bytes / 1000).map(|_| Ok::<_, std::io::Error>(vec![1; 1000]));
    let body = Body::from_stream(futures::stream::iter(pieces));
    let headers = [(CONTENT_RANGE, range.to_owned())];
    (StatusCode::PARTIAL_CONTENT, headers, body).into_response()
}

/// A few bytes at a time, for ever.
async fn drip() -> axum::response::Response {
    let drops = futures::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Ok::<_, std::io::Error>(vec![1; 10]), ()))
    });
    let headers = [(CONTENT_LENGTH, "1000000000")];
    (headers, Body::from_stream(drops)).into_response()
}

async fn serve() -> String {
    serve_at("127.0.0.1:0").await.0
}

/// A server, and how often it was asked.
async fn serve_at(address: &str) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let router = Router::new()
        .route("/ranges", get(ranges))
        .route("/plain", get(async || file()))
        .route(
            "/silent",
            get(async || std::future::pending::<String>().await),
        )
        .route("/hops/{left}", get(hops))
        .route("/to", get(to))
        .route("/endless", get(async || chunked("bytes 0-9/10", 1_000_000)))
        .route("/short", get(async || chunked("bytes 0-65535/70000", 5000)))
        .route("/drip", get(drip))
        .layer(middleware::map_request(move |request: Request| {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(request)
        }));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), asked)
}

/// A client that may ask these addresses of the loopback.
fn source_of(allow: &[&str]) -> HttpSource {
    let timeouts = Timeouts {
        stall: Duration::from_millis(300),
        ..Timeouts::default()
    };
    let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
    let deny = Vec::new();
    HttpSource::new(timeouts, AddressPolicy { allow, deny }).unwrap()
}

fn source() -> HttpSource {
    source_of(&["127.0.0.0/8", "::1/128"])
}

/// A tenant's file.
fn own(url: &str) -> Location<'_> {
    let kind = ImageKind::Image;
    Location { kind, url }
}

/// An operator's file.
fn operators(url: &str) -> Location<'_> {
    let kind = ImageKind::ClusterImage;
    Location { kind, url }
}

async fn drain(mut download: Download) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = download.chunk().await.unwrap() {
        all.extend_from_slice(&chunk);
    }
    all
}

#[tokio::test]
async fn the_head_comes_with_and_without_ranges() {
    let server = serve().await;
    for path in ["ranges", "plain", "hops/5"] {
        let head = source()
            .head(own(&format!("{server}/{path}")))
            .await
            .unwrap();
        assert_eq!(head.file_size, SIZE as u64, "{path}");
        assert_eq!(head.bytes, file()[..65536], "{path}");
    }
}

#[tokio::test]
async fn a_download_is_resumed_where_the_server_can() {
    let url = format!("{}/ranges", serve().await);
    let download = source().get(own(&url), 0, None).await.unwrap();
    assert_eq!((download.from, download.file_size), (0, Some(SIZE as u64)));
    assert_eq!(download.etag.as_deref(), Some("\"v1\""));
    assert_eq!(drain(download).await, file());
    let rest = source()
        .get(own(&url), 150_000, Some("\"v1\""))
        .await
        .unwrap();
    assert_eq!((rest.from, rest.file_size), (150_000, Some(SIZE as u64)));
    assert_eq!(drain(rest).await, file()[150_000..]);
    let changed = source()
        .get(own(&url), 150_000, Some("\"v0\""))
        .await
        .unwrap();
    assert_eq!(changed.from, 0);
    assert_eq!(drain(changed).await, file());
    let past = source().get(own(&url), SIZE as u64, None).await;
    assert!(matches!(past, Err(FetchError::PastEnd)));
}

#[tokio::test]
async fn a_server_without_ranges_sends_all_again() {
    let url = format!("{}/plain", serve().await);
    let again = source().get(own(&url), 150_000, None).await.unwrap();
    assert_eq!(again.from, 0);
    assert_eq!(drain(again).await, file());
}

#[tokio::test]
async fn redirects_end_and_lead_nowhere_forbidden() {
    let server = serve().await;
    let follow = async |left: usize| {
        let url = format!("{server}/hops/{left}");
        source().head(own(&url)).await
    };
    for nowhere in [6, 98, 97, 96] {
        let answer = follow(nowhere).await;
        assert!(
            matches!(answer, Err(FetchError::Redirect)),
            "{nowhere}: {answer:?}"
        );
    }
    assert!(matches!(follow(99).await, Err(FetchError::Forbidden)));
}

#[tokio::test]
async fn trouble_is_told_by_kind() {
    let server = serve().await;
    let head = async |url: &str| source().head(own(url)).await.unwrap_err();
    let missing = head(&format!("{server}/missing")).await;
    assert!(matches!(missing, FetchError::Status(404)));
    let silent = head(&format!("{server}/silent")).await;
    assert!(matches!(silent, FetchError::Timeout(_)), "{silent:?}");
    assert!(matches!(
        head("http://127.0.0.1:1/").await,
        FetchError::Connect(_)
    ));
    assert!(matches!(head("ftp://127.0.0.1/").await, FetchError::Url));
    assert!(matches!(
        head("http://169.254.169.254/").await,
        FetchError::Forbidden
    ));
    let strict = HttpSource::new(Timeouts::default(), AddressPolicy::default()).unwrap();
    let by_name = strict.head(own("http://localhost:1/")).await;
    assert!(matches!(by_name, Err(FetchError::Forbidden)), "{by_name:?}");
}

#[tokio::test]
async fn no_more_is_taken_than_was_announced_and_no_less() {
    let server = serve().await;
    let url = format!("{server}/endless");
    let endless = source().get(own(&url), 0, None).await.unwrap();
    assert_eq!(endless.file_size, Some(10));
    assert_eq!(drain(endless).await.len(), 10);
    let short = source().head(own(&format!("{server}/short"))).await;
    assert!(matches!(short, Err(FetchError::CutShort)), "{short:?}");
}

#[tokio::test]
async fn who_sends_a_little_for_ever_is_given_up() {
    let url = format!("{}/drip", serve().await);
    let mut download = source().get(own(&url), 0, None).await.unwrap();
    let mut came = 0;
    let ended = loop {
        match download.chunk().await {
            Ok(Some(bytes)) => came += bytes.len(),
            other => break other,
        }
    };
    assert!(matches!(ended, Err(FetchError::TooSlow)), "{ended:?}");
    assert!(came > 0);
}

/// What is refused is not even connected to, neither by its address nor by its name.
#[tokio::test]
async fn a_redirect_leads_to_no_refused_server() {
    let (within, inside) = serve_at("127.0.0.1:0").await;
    let by_name = within.replace("127.0.0.1", "localhost");
    let (outside, asked) = serve_at("127.0.0.2:0").await;
    let source = source_of(&["127.0.0.2/32"]);
    for to in [&within, &by_name] {
        let url = format!("{outside}/to?{to}/plain");
        for file in [own(&url), operators(&url)] {
            let refused = source.head(file).await;
            assert!(
                matches!(refused, Err(FetchError::Forbidden)),
                "{to}: {refused:?}"
            );
        }
    }
    assert_eq!(asked.load(Ordering::Relaxed), 4);
    assert_eq!(inside.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_operator_may_name_any_server() {
    let (server, _) = serve_at("127.0.0.1:0").await;
    let by_name = server.replace("127.0.0.1", "localhost");
    let source = source_of(&[]);
    for server in [server, by_name] {
        for url in [format!("{server}/plain"), format!("{server}/hops/3")] {
            let head = source.head(operators(&url)).await.unwrap();
            assert_eq!(head.file_size, SIZE as u64, "{url}");
            // Not over a connection that is open already, either.
            let refused = source.head(own(&url)).await;
            assert!(
                matches!(refused, Err(FetchError::Forbidden)),
                "{url}: {refused:?}"
            );
        }
    }
}
