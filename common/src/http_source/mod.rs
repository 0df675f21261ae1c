//! Fetches image files by HTTP: the first bytes for their header, or all of them, from any offset.
//!
//! An image's address is a tenant's text. So it is followed only to addresses that the
//! [`AddressPolicy`] allows, over a bounded number of redirects, never with credentials or through
//! a proxy of the environment, and every wait has an end. What a server answers is told to a tenant
//! only as a status code or one of a few sentences: the details stand in the error's source, for
//! the log.

mod address;

pub use address::AddressPolicy;

use crate::image_header::HEAD_BYTES;
use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, RANGE};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect};
use std::sync::Arc;
use std::time::Duration;

/// Redirects that are followed; a mirror network needs one or two.
const REDIRECTS_MAX: usize = 5;

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To a connection.
    pub connect: Duration,
    /// Without a byte of an answer.
    pub stall: Duration,
    /// For the whole of [`HttpSource::head`].
    pub head: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            head: Duration::from_secs(30),
        }
    }
}

/// Why nothing, or not all, was fetched. Worth another try later, all of them: a server changes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The client could not be made.
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
    /// The address is none of HTTP's.
    #[error("not an http or https address")]
    Url,
    /// The address leads to where images may not come from.
    #[error("its address is not one that images may be fetched from")]
    Forbidden,
    /// Too many redirects, or one to something that is not HTTP.
    #[error("the server's redirects lead nowhere")]
    Redirect(#[source] reqwest::Error),
    /// No answer in time.
    #[error("the server did not answer in time")]
    Timeout(#[source] reqwest::Error),
    /// No connection: name, network or TLS.
    #[error("cannot connect to the server")]
    Connect(#[source] reqwest::Error),
    /// The connection broke off.
    #[error("the transfer broke off")]
    Transfer(#[source] reqwest::Error),
    /// The server has no such file for us.
    #[error("the server answered {0}")]
    Status(u16),
    /// The server does not say how large the file is.
    #[error("the server does not say how large the file is")]
    SizeUnknown,
    /// Nothing is there at the offset that was asked for.
    #[error("the file on the server ends before what was fetched earlier")]
    PastEnd,
    /// The server sent another part than was asked for.
    #[error("the server sent another part of the file than was asked for")]
    WrongRange,
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if address::caused(&error) {
            Self::Forbidden
        } else if error.is_redirect() {
            Self::Redirect(error)
        } else if error.is_timeout() {
            Self::Timeout(error)
        } else if error.is_connect() {
            Self::Connect(error)
        } else {
            Self::Transfer(error)
        }
    }
}

/// A client for image servers. Cloning is cheap and shares connections.
#[derive(Clone, Debug)]
pub struct HttpSource {
    client: Client,
    policy: Arc<AddressPolicy>,
    head_timeout: Duration,
}

/// The start of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// At most [`HEAD_BYTES`] bytes, fewer only where the file is shorter.
    pub bytes: Vec<u8>,
    /// Size of the whole file, in bytes.
    pub file_size: u64,
}

/// A file on its way.
#[derive(Debug)]
pub struct Download {
    response: Response,
    /// Where the bytes begin: what was asked for, or 0 where the server sends all of it again.
    pub from: u64,
    /// Size of the whole file in bytes, where the server says it.
    pub file_size: Option<u64>,
    /// The version of the file, to be given when it is resumed.
    pub etag: Option<String>,
}

impl HttpSource {
    /// A client with these limits.
    ///
    /// # Errors
    /// When the TLS roots of the machine cannot be read.
    pub fn new(timeouts: Timeouts, policy: AddressPolicy) -> Result<Self, FetchError> {
        crate::tls::install_provider();
        let policy = Arc::new(policy);
        let client = Client::builder()
            .user_agent(concat!("kilonova/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .referer(false)
            .connect_timeout(timeouts.connect)
            .read_timeout(timeouts.stall)
            .redirect(redirects(policy.clone()))
            .dns_resolver(address::Resolver(policy.clone()))
            .build()
            .map_err(FetchError::Client)?;
        Ok(Self {
            client,
            policy,
            head_timeout: timeouts.head,
        })
    }

    /// The first [`HEAD_BYTES`] bytes, by a range request; from a server that knows no ranges, by
    /// breaking off.
    ///
    /// # Errors
    /// Any [`FetchError`].
    pub async fn head(&self, url: &str) -> Result<Head, FetchError> {
        let request = self
            .request(url)?
            .header(RANGE, format!("bytes=0-{}", HEAD_BYTES - 1))
            .timeout(self.head_timeout);
        let mut response = request.send().await?;
        let file_size = match response.status() {
            StatusCode::PARTIAL_CONTENT => match content_range(response.headers()) {
                Some((0, size)) => size,
                Some(_) => return Err(FetchError::WrongRange),
                None => None,
            },
            StatusCode::OK => response.content_length(),
            StatusCode::RANGE_NOT_SATISFIABLE => Some(0),
            status => return Err(FetchError::Status(status.as_u16())),
        };
        let file_size = file_size.ok_or(FetchError::SizeUnknown)?;
        let wanted = usize::try_from(file_size.min(HEAD_BYTES)).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        while bytes.len() < wanted
            && let Some(chunk) = response.chunk().await?
        {
            bytes.extend_from_slice(&chunk[..chunk.len().min(wanted - bytes.len())]);
        }
        Ok(Head { bytes, file_size })
    }

    /// The file from byte `from` on. `etag` is that of the download which is resumed: a server whose
    /// file is another one now sends all of it, as does one that knows no ranges; look at
    /// [`Download::from`].
    ///
    /// # Errors
    /// Any [`FetchError`]; [`FetchError::PastEnd`] where the file has no byte `from`.
    pub async fn get(
        &self,
        url: &str,
        from: u64,
        etag: Option<&str>,
    ) -> Result<Download, FetchError> {
        let mut request = self.request(url)?;
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
            // A weak validator may not be used here (RFC 9110, 13.1.5).
            if let Some(etag) = etag.filter(|etag| !etag.starts_with("W/")) {
                request = request.header(IF_RANGE, etag);
            }
        }
        let response = request.send().await?;
        let (from, file_size) = match response.status() {
            StatusCode::OK => (0, response.content_length()),
            StatusCode::PARTIAL_CONTENT => match content_range(response.headers()) {
                Some((start, size)) if start == from => (from, size),
                _ => return Err(FetchError::WrongRange),
            },
            StatusCode::RANGE_NOT_SATISFIABLE => return Err(FetchError::PastEnd),
            status => return Err(FetchError::Status(status.as_u16())),
        };
        let etag = response.headers().get(ETAG);
        let etag = etag.and_then(|tag| Some(tag.to_str().ok()?.to_owned()));
        Ok(Download {
            response,
            from,
            file_size,
            etag,
        })
    }

    fn request(&self, url: &str) -> Result<RequestBuilder, FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::Url)?;
        if !is_http(&url) {
            return Err(FetchError::Url);
        }
        if !self.policy.allows_host(&url) {
            return Err(FetchError::Forbidden);
        }
        // Compressed on the way, offsets and sizes would be of something else.
        Ok(self.client.get(url).header(ACCEPT_ENCODING, "identity"))
    }
}

impl Download {
    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    /// [`FetchError::Timeout`] and [`FetchError::Transfer`]: what came so far is good.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        Ok(self.response.chunk().await?)
    }
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

fn redirects(policy: Arc<AddressPolicy>) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > REDIRECTS_MAX || !is_http(attempt.url()) {
            attempt.error("not followed")
        } else if !policy.allows_host(attempt.url()) {
            attempt.error(address::Forbidden)
        } else {
            attempt.follow()
        }
    })
}

/// First byte and the whole file's size, from `bytes 0-65535/1000000` (the size may be `*`).
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, size.trim().parse().ok()))
}

#[cfg(test)]
mod tests;
