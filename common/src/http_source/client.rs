//! Asking a server, over its redirects. Each hop is checked where it connects.

use super::address::Resolver;
use super::{AddressPolicy, FetchError, Location, Timeouts};
use kilonova_crds::v1alpha1::ImageKind;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use std::sync::Arc;
use tokio::time::Instant;

/// Redirects that are followed; a mirror network needs one or two.
const REDIRECTS_MAX: usize = 5;

/// Two clients, because what a name may resolve to is a client's own setting, and a connection that
/// one of them keeps open must not serve the other.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    /// Connects to what the policy allows.
    guarded: Client,
    /// Connects to anything.
    open: Client,
    policy: Arc<AddressPolicy>,
}

impl Clients {
    pub(super) fn new(timeouts: Timeouts, policy: AddressPolicy) -> Result<Self, FetchError> {
        crate::tls::install_provider();
        let policy = Arc::new(policy);
        let builder = || {
            Client::builder()
                .user_agent(concat!("kilonova/", env!("CARGO_PKG_VERSION")))
                .no_proxy()
                .referer(false)
                .connect_timeout(timeouts.connect)
                .read_timeout(timeouts.stall)
                .redirect(redirect::Policy::none())
        };
        let guarded = builder().dns_resolver(Resolver(policy.clone()));
        Ok(Self {
            guarded: guarded.build().map_err(FetchError::Client)?,
            open: builder().build().map_err(FetchError::Client)?,
            policy,
        })
    }

    /// Asks for a file, and follows where the server leads. All of it, the answer's body too, ends
    /// by the deadline.
    pub(super) async fn get(
        &self,
        file: Location<'_>,
        mut headers: HeaderMap,
        deadline: Option<Instant>,
    ) -> Result<Response, FetchError> {
        // Compressed on the way, offsets and sizes would be of something else.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let named = Url::parse(file.url).map_err(|_| FetchError::Url)?;
        if !is_http(&named) {
            return Err(FetchError::Url);
        }
        let mut at = named.clone();
        for _ in 0..=REDIRECTS_MAX {
            let client = self.client(file.kind, &named, &at)?;
            let mut request = client.get(at.clone()).headers(headers.clone());
            if let Some(deadline) = deadline {
                request = request.timeout(deadline.duration_since(Instant::now()));
            }
            let response = request.send().await?;
            match target(&response, &at)? {
                Some(next) => at = next,
                None => return Ok(response),
            }
        }
        Err(FetchError::Redirect)
    }

    /// The client that may ask there.
    fn client(&self, kind: ImageKind, named: &Url, url: &Url) -> Result<&Client, FetchError> {
        let operators = kind == ImageKind::ClusterImage && url.host() == named.host();
        if operators {
            return Ok(&self.open);
        }
        // Only names are resolved: an address in the text itself is looked at here.
        if !self.policy.allows_host(url) {
            return Err(FetchError::Forbidden);
        }
        Ok(&self.guarded)
    }
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// Where an answer leads on; `None` where it is one.
fn target(response: &Response, at: &Url) -> Result<Option<Url>, FetchError> {
    let leads_on = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let Some(location) = response.headers().get(LOCATION).filter(|_| leads_on) else {
        return Ok(None);
    };
    let text = location.to_str().map_err(|_| FetchError::Redirect)?;
    let url = at.join(text).map_err(|_| FetchError::Redirect)?;
    // With a name and a password in it, they would be sent along.
    let plain = url.username().is_empty() && url.password().is_none();
    if !is_http(&url) || !plain {
        return Err(FetchError::Redirect);
    }
    Ok(Some(url))
}
