#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;
use axum::Router;
use axum::extract::Path;
use axum::http::header::{CONTENT_RANGE, LOCATION};
use axum::response::IntoResponse;
use axum::routing::get;

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
        _ => format!("/hops/{}", left - 1),
    };
    (StatusCode::FOUND, [(LOCATION, to)]).into_response()
}

async fn serve() -> String {
    let router = Router::new()
        .route("/ranges", get(ranges))
        .route("/plain", get(async || file()))
        .route(
            "/silent",
            get(async || std::future::pending::<String>().await),
        )
        .route("/hops/{left}", get(hops));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn source() -> HttpSource {
    let timeouts = Timeouts {
        stall: Duration::from_millis(300),
        ..Timeouts::default()
    };
    let allow = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    let deny = Vec::new();
    HttpSource::new(timeouts, AddressPolicy { allow, deny }).unwrap()
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
        let head = source().head(&format!("{server}/{path}")).await.unwrap();
        assert_eq!(head.file_size, SIZE as u64, "{path}");
        assert_eq!(head.bytes, file()[..65536], "{path}");
    }
}

#[tokio::test]
async fn a_download_is_resumed_where_the_server_can() {
    let url = format!("{}/ranges", serve().await);
    let download = source().get(&url, 0, None).await.unwrap();
    assert_eq!((download.from, download.file_size), (0, Some(SIZE as u64)));
    assert_eq!(download.etag.as_deref(), Some("\"v1\""));
    assert_eq!(drain(download).await, file());
    let rest = source().get(&url, 150_000, Some("\"v1\"")).await.unwrap();
    assert_eq!((rest.from, rest.file_size), (150_000, Some(SIZE as u64)));
    assert_eq!(drain(rest).await, file()[150_000..]);
    let changed = source().get(&url, 150_000, Some("\"v0\"")).await.unwrap();
    assert_eq!(changed.from, 0);
    assert_eq!(drain(changed).await, file());
    let past = source().get(&url, SIZE as u64, None).await;
    assert!(matches!(past, Err(FetchError::PastEnd)));
}

#[tokio::test]
async fn a_server_without_ranges_sends_all_again() {
    let url = format!("{}/plain", serve().await);
    let again = source().get(&url, 150_000, None).await.unwrap();
    assert_eq!(again.from, 0);
    assert_eq!(drain(again).await, file());
}

#[tokio::test]
async fn redirects_end_and_lead_nowhere_forbidden() {
    let server = serve().await;
    let follow = async |left: usize| source().head(&format!("{server}/hops/{left}")).await;
    assert!(matches!(follow(6).await, Err(FetchError::Redirect(_))));
    assert!(matches!(follow(98).await, Err(FetchError::Redirect(_))));
    assert!(matches!(follow(99).await, Err(FetchError::Forbidden)));
}

#[tokio::test]
async fn trouble_is_told_by_kind() {
    let server = serve().await;
    let head = async |url: &str| source().head(url).await.unwrap_err();
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
    let by_name = strict.head("http://localhost:1/").await;
    assert!(matches!(by_name, Err(FetchError::Forbidden)), "{by_name:?}");
}
