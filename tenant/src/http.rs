//! Requests to registrar, verifier and agents: one at a time, bounded in time and size, without redirects.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use rustls::{AlertDescription, ClientConfig};
use serde_json::Value;

/// Longest answer that is read, in bytes; a bulk listing of a large fleet is the longest there is.
const MAX_REPLY_BYTES: usize = 256 << 20;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The client cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Setup(String),
    /// The peer does not know the authority of our certificate.
    #[error("{url}: the peer does not know the authority of our certificate")]
    UnknownAuthority {
        /// Where the request went.
        url: String,
    },
    /// The peer cannot be reached or broke the exchange off.
    #[error("{url}: {reason}")]
    Transport {
        /// Where the request went.
        url: String,
        /// The whole chain of reasons.
        reason: String,
    },
    /// The peer did not answer in time.
    #[error("{url}: no answer within {seconds} seconds")]
    Timeout {
        /// Where the request went.
        url: String,
        /// The configured limit.
        seconds: f64,
    },
    /// The answer is longer than [`MAX_REPLY_BYTES`].
    #[error("{url}: answer is longer than {MAX_REPLY_BYTES} bytes")]
    TooLong {
        /// Where the request went.
        url: String,
    },
}

/// The body of a request.
#[derive(Debug, Clone)]
pub enum Body {
    /// None.
    Empty,
    /// A text without a content type, as verifiers get it from Keylime's tenant.
    Plain(String),
    /// A text declared as JSON.
    Json(String),
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Create.
    Post,
    /// Replace, or trigger.
    Put,
    /// Remove.
    Delete,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON; `None` if it is not.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The member `status` of the body, or nothing.
    #[must_use]
    pub fn status_text(&self) -> String {
        let text = |body: Value| body.get("status").and_then(Value::as_str).map(str::to_owned);
        self.json().and_then(text).unwrap_or_default()
    }

    /// The member `results` of the body.
    #[must_use]
    pub fn results(&self) -> Option<Value> {
        self.json()?.get_mut("results").map(Value::take)
    }
}

/// A client for one kind of peer.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    timeout: Duration,
}

impl HttpClient {
    /// A client with these TLS rules.
    ///
    /// # Errors
    /// [`HttpError::Setup`].
    pub fn new(tls: ClientConfig, timeout: Duration) -> Result<Self, HttpError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout)
            .user_agent(concat!("keylime-tenant/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| HttpError::Setup(chain(&error)))?;
        Ok(Self { client, timeout })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// Any [`HttpError`] but [`HttpError::Setup`]; an answer with an error status is an answer.
    pub async fn send(&self, method: Method, url: &str, body: Body) -> Result<Reply, HttpError> {
        self.open(method, url, body).await?.whole().await
    }

    /// Sends a request and reads the answer up to its body.
    ///
    /// # Errors
    /// See [`HttpClient::send`].
    pub async fn open(&self, method: Method, url: &str, body: Body) -> Result<OpenReply, HttpError> {
        let method = match method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Delete => reqwest::Method::DELETE,
        };
        let request = self.client.request(method, url);
        let request = match body {
            Body::Empty => request,
            Body::Plain(text) => request.body(text),
            Body::Json(text) => request.header(reqwest::header::CONTENT_TYPE, "application/json").body(text),
        };
        let explain = Explain { url: url.to_owned(), timeout: self.timeout };
        match request.send().await {
            Ok(response) => Ok(OpenReply { status: response.status().as_u16(), response, received: 0, explain }),
            Err(error) => Err(explain.error(&error)),
        }
    }
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub struct OpenReply {
    /// The HTTP status.
    pub status: u16,
    response: reqwest::Response,
    received: usize,
    explain: Explain,
}

impl OpenReply {
    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// See [`HttpClient::send`].
    pub async fn piece(&mut self) -> Result<Option<Bytes>, HttpError> {
        let piece = self.response.chunk().await.map_err(|error| self.explain.error(&error))?;
        self.received += piece.as_ref().map_or(0, Bytes::len);
        if self.received > MAX_REPLY_BYTES {
            return Err(HttpError::TooLong { url: self.explain.url.clone() });
        }
        Ok(piece)
    }

    /// The answer with its whole body.
    ///
    /// # Errors
    /// See [`HttpClient::send`].
    pub async fn whole(mut self) -> Result<Reply, HttpError> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
        }
        Ok(Reply { status: self.status, body })
    }
}

/// What is told of a request that fails.
#[derive(Debug)]
struct Explain {
    url: String,
    timeout: Duration,
}

impl Explain {
    fn error(&self, error: &reqwest::Error) -> HttpError {
        let url = self.url.clone();
        if is_unknown_authority(error) {
            return HttpError::UnknownAuthority { url };
        }
        if error.is_timeout() {
            return HttpError::Timeout { url, seconds: self.timeout.as_secs_f64() };
        }
        HttpError::Transport { url, reason: chain(error) }
    }
}

/// Whether the peer refused our certificate with the alert `unknown_ca`.
fn is_unknown_authority(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        let tls = error.downcast_ref::<rustls::Error>().or_else(|| {
            error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref()?.downcast_ref::<rustls::Error>())
        });
        if matches!(tls, Some(rustls::Error::AlertReceived(AlertDescription::UnknownCA))) {
            return true;
        }
        source = error.source();
    }
    false
}

/// An error and everything that caused it, on one line.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
