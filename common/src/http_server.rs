//! The small HTTP server of a binary: `/metrics`, `/healthz`, `/readyz`. It serves nothing else,
//! and nothing of a tenant's.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Why a check fails, in a sentence; `None` when it does not.
pub type Check = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What the server shows.
#[derive(Clone)]
pub struct Endpoints {
    /// What `/metrics` prints.
    pub registry: Registry,
    /// `/healthz`: the process must be restarted when this fails.
    pub healthy: Check,
    /// `/readyz`: the process does its work.
    pub ready: Check,
}

/// The server could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Binds `address`, then serves until the returned future is dropped. Binding happens before this
/// returns, so that a port that is taken is an error at start. Gives the address that it listens
/// on (of interest where port 0 was asked for).
///
/// # Errors
/// When the address cannot be bound.
pub async fn bind(
    address: SocketAddr,
    endpoints: Endpoints,
) -> Result<(SocketAddr, impl Future<Output = std::io::Result<()>>), ListenError> {
    let fail = |source| ListenError { address, source };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let local = listener.local_addr().map_err(fail)?;
    let serve = axum::serve(listener, router(endpoints)).into_future();
    Ok((local, serve))
}

fn router(endpoints: Endpoints) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(endpoints)
}

async fn metrics(State(endpoints): State<Endpoints>) -> Response {
    match TextEncoder::new().encode_to_string(&endpoints.registry.gather()) {
        Ok(text) => {
            let kind = (header::CONTENT_TYPE, prometheus::TEXT_FORMAT);
            ([kind], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn healthz(State(endpoints): State<Endpoints>) -> Response {
    answer(&endpoints.healthy)
}

async fn readyz(State(endpoints): State<Endpoints>) -> Response {
    answer(&endpoints.ready)
}

fn answer(check: &Check) -> Response {
    match check() {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn shows_metrics_and_both_checks() {
        crate::tls::install_provider();
        let registry = Registry::new();
        let counter = prometheus::IntCounter::new("made_total", "Things made.").unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        counter.inc();
        let ready = Arc::new(AtomicBool::new(false));
        let flag = ready.clone();
        let endpoints = Endpoints {
            registry,
            healthy: Arc::new(|| None),
            ready: Arc::new(move || {
                (!flag.load(Ordering::SeqCst)).then(|| "still starting".to_owned())
            }),
        };
        let (address, serve) = bind(([127, 0, 0, 1], 0).into(), endpoints).await.unwrap();
        tokio::spawn(serve);
        let get = async |path: &str| {
            let response = reqwest::get(format!("http://{address}{path}")).await;
            let response = response.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        };
        assert!(get("/metrics").await.1.contains("made_total 1"));
        assert_eq!(get("/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(get("/readyz").await, (503, "still starting\n".to_owned()));
        ready.store(true, Ordering::SeqCst);
        assert_eq!(get("/readyz").await.0, 200);
        assert_eq!(get("/").await.0, 404);
    }
}
