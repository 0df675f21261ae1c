//! Fetches image files by HTTP: the first bytes for their header, or all of them, from any offset.
//!
//! An image's address is somebody's text. A tenant's is followed only to addresses that the
//! [`AddressPolicy`] allows; an operator's may name any, and what its server redirects to on another
//! host is followed as a tenant's is. Both go over a bounded number of redirects, never with
//! credentials or through a proxy of the environment, and every wait has an end. What a server
//! answers is told to a tenant only as a status code or one of a few sentences: the details stand in
//! the error's source, for the log.

mod address;
mod client;

pub use address::AddressPolicy;

use crate::image_header::HEAD_BYTES;
use bytes::Bytes;
use client::Clients;
use kilonova_crds::v1alpha1::ImageKind;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_RANGE, RANGE};
use reqwest::{Response, StatusCode};
use std::time::Duration;
use tokio::time::Instant;

/// What must come in as long as may pass without a byte, in bytes: a server that sends one now and
/// then would hold its place for ever.
const PACE: u64 = 64 << 10;

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To a connection.
    pub connect: Duration,
    /// Without a byte of an answer, and without 64 KiB of a file that is on its way.
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
    Redirect,
    /// No answer in time.
    #[error("the server did not answer in time")]
    Timeout(#[source] reqwest::Error),
    /// It comes, but would never end.
    #[error("the server sends too slowly")]
    TooSlow,
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
    /// The body ended before what the server had announced.
    #[error("the server sent less of the file than it announced")]
    CutShort,
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
    clients: Clients,
    timeouts: Timeouts,
}

/// A file on a server, as an image's spec names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// The kind of image that names it.
    pub kind: ImageKind,
    /// Its address.
    pub url: &'a str,
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
    /// Bytes that may still come; more than the server announced are not taken.
    left: u64,
    pace: Pace,
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
        Ok(Self {
            clients: Clients::new(timeouts, policy)?,
            timeouts,
        })
    }

    /// The first [`HEAD_BYTES`] bytes, by a range request; from a server that knows no ranges, by
    /// breaking off.
    ///
    /// # Errors
    /// Any [`FetchError`].
    pub async fn head(&self, file: Location<'_>) -> Result<Head, FetchError> {
        let range = header(RANGE, &format!("bytes=0-{}", HEAD_BYTES - 1));
        let deadline = Instant::now() + self.timeouts.head;
        let request = self.clients.get(file, range, Some(deadline));
        let mut response = request.await?;
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
        while bytes.len() < wanted {
            let chunk = response.chunk().await?.ok_or(FetchError::CutShort)?;
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
        file: Location<'_>,
        from: u64,
        etag: Option<&str>,
    ) -> Result<Download, FetchError> {
        let mut headers = HeaderMap::new();
        if from > 0 {
            headers.extend(header(RANGE, &format!("bytes={from}-")));
            // A weak validator may not be used here (RFC 9110, 13.1.5).
            let strong = etag.filter(|etag| !etag.starts_with("W/"));
            headers.extend(
                strong
                    .map(|etag| header(IF_RANGE, etag))
                    .unwrap_or_default(),
            );
        }
        let response = self.clients.get(file, headers, None).await?;
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
            left: file_size.map_or(u64::MAX, |size| size.saturating_sub(from)),
            pace: Pace::new(self.timeouts.stall),
            from,
            file_size,
            etag,
        })
    }
}

impl Download {
    /// The next bytes; `None` after the last that the server announced.
    ///
    /// # Errors
    /// [`FetchError::Timeout`], [`FetchError::TooSlow`] and [`FetchError::Transfer`]: what came so
    /// far is good.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        if self.left == 0 {
            return Ok(None);
        }
        let began = Instant::now();
        let Some(mut chunk) = self.response.chunk().await? else {
            return Ok(None);
        };
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        chunk.truncate(most);
        self.left -= chunk.len() as u64;
        self.pace.keep(chunk.len(), began.elapsed())?;
        Ok(Some(chunk))
    }
}

/// How fast a server is: only the time counts for which it was waited for.
#[derive(Debug)]
struct Pace {
    window: Duration,
    waited: Duration,
    came: u64,
}

impl Pace {
    fn new(window: Duration) -> Self {
        Self {
            window,
            waited: Duration::ZERO,
            came: 0,
        }
    }

    fn keep(&mut self, came: usize, waited: Duration) -> Result<(), FetchError> {
        self.came += came as u64;
        self.waited += waited;
        if self.waited < self.window {
            return Ok(());
        }
        if self.came < PACE {
            return Err(FetchError::TooSlow);
        }
        *self = Self::new(self.window);
        Ok(())
    }
}

/// A header whose value a server gave; one that is none is left out.
fn header(name: HeaderName, value: &str) -> HeaderMap {
    let value = HeaderValue::from_str(value).ok();
    value.map(|value| (name, value)).into_iter().collect()
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
