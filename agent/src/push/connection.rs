//! One HTTPS exchange with the verifier, bounded in time and in bytes.
//!
//! Redirects are not followed and no proxy is asked, so the token goes to the configured verifier only.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Url};
use time::OffsetDateTime;

use crate::registration::resilient_client::random_request_id;
use crate::registration::retry::parse_retry_after;

/// The media type of JSON:API.
const JSON_API: &str = "application/vnd.api+json";
/// Largest answer read, in bytes, beyond an echo of what was sent.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Slowest connection that evidence is sent over, in bytes a second.
const SLOWEST_UPLOAD: u64 = 64 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest token taken, in bytes.
const MAX_TOKEN_BYTES: usize = 4096;

/// A bearer token; it is neither logged nor stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(HeaderValue);

impl Token {
    /// Takes a token that can be sent in a header.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= MAX_TOKEN_BYTES && text.bytes().all(|b| b.is_ascii_graphic());
        let mut value = fits.then(|| HeaderValue::from_str(&format!("Bearer {text}")).ok()).flatten()?;
        value.set_sensitive(true);
        Some(Self(value))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The verifier's answer, read completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Wait the server asks for.
    pub retry_after: Option<Duration>,
    /// The header `Location`.
    pub location: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as text for people, at most 500 characters.
    #[must_use]
    pub fn excerpt(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().filter(|c| !c.is_control()).take(500).collect()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The address is not one of a verifier.
    #[error("{url:?} is not the address of a verifier: {reason}")]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no HTTP client.
    #[error("http client: {}", with_causes(.0))]
    Client(reqwest::Error),
    /// The connection or the transfer failed.
    #[error("{}", with_causes(.0))]
    Transport(reqwest::Error),
    /// The answer is longer than any expected.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// The library's message is only "error sending request"; its causes say what happened.
pub(crate) fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The way to one verifier. Connections are kept and used again.
#[derive(Debug, Clone)]
pub struct VerifierConnection {
    client: Client,
    base: Url,
    timeout: Duration,
}

impl VerifierConnection {
    /// A connection to the verifier at `url`; `timeout` is for an exchange of little data.
    ///
    /// # Errors
    /// The address is not `https`, or TLS cannot be set up.
    pub fn new(url: &str, tls: rustls::ClientConfig, timeout: Duration) -> Result<Self, ConnectionError> {
        let wrong = |reason: &str| ConnectionError::Address { url: url.to_owned(), reason: reason.to_owned() };
        let mut base = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        if base.scheme() != "https" {
            return Err(wrong("the token may only be sent over https"));
        }
        if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
            return Err(wrong("it must be host, port and path only"));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(ConnectionError::Client)?;
        Ok(Self { client, base, timeout })
    }

    /// The URL of a resource below the verifier's address.
    #[must_use]
    pub fn resource(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// What a `Location` in an answer to `asked` points to, as long as it stays at the verifier.
    #[must_use]
    pub fn follow(&self, asked: &Url, location: &str) -> Option<Url> {
        asked.join(location).ok().filter(|url| url.origin() == self.base.origin())
    }

    /// Sends a JSON:API document and reads the answer.
    ///
    /// # Errors
    /// See [`ConnectionError`]; an answer of any status is no error.
    pub async fn send(
        &self,
        method: Method,
        url: Url,
        token: Option<&Token>,
        body: Vec<u8>,
    ) -> Result<Reply, ConnectionError> {
        let sent = body.len();
        let allowance = Duration::from_secs(sent as u64 / SLOWEST_UPLOAD);
        let mut request = self
            .client
            .request(method, url)
            .timeout(self.timeout + allowance)
            .header(CONTENT_TYPE, JSON_API)
            .header(ACCEPT, JSON_API)
            .header("X-Request-ID", random_request_id())
            .body(body);
        if let Some(Token(value)) = token {
            request = request.header(AUTHORIZATION, value.clone());
        }
        let mut response = request.send().await.map_err(ConnectionError::Transport)?;
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let retry_after = text(RETRY_AFTER).and_then(|text| parse_retry_after(&text, OffsetDateTime::now_utc()));
        let location = text(LOCATION);
        let status = response.status().as_u16();
        // The reference echoes the evidence, and JSON may write a character in six.
        let limit = MAX_ANSWER_BYTES + sent.saturating_mul(6);
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(ConnectionError::Transport)? {
            if body.len() + part.len() > limit {
                return Err(ConnectionError::TooLong(limit));
            }
            body.extend_from_slice(&part);
        }
        Ok(Reply { status, retry_after, location, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_pki::tls::{ServerTrust, client};

    fn connection(url: &str) -> Result<VerifierConnection, ConnectionError> {
        keylime_pki::install_crypto_provider();
        VerifierConnection::new(url, client(None, ServerTrust::All).unwrap(), Duration::from_secs(1))
    }

    #[test]
    fn addresses_end_with_or_without_a_slash() {
        for url in ["https://verifier:8881", "https://verifier:8881/"] {
            let sessions = connection(url).unwrap().resource(&["v3.0", "sessions"]);
            assert_eq!(sessions.as_str(), "https://verifier:8881/v3.0/sessions");
        }
        let below = connection("https://verifier/keylime").unwrap().resource(&["v3.0", "a/b"]);
        assert_eq!(below.as_str(), "https://verifier/keylime/v3.0/a%2Fb");
    }

    #[test]
    fn a_token_is_never_sent_in_the_clear_or_elsewhere() {
        for wrong in ["http://verifier:8881", "https://user:pw@verifier", "verifier:8881", "https://v/?q=1", ""] {
            assert!(matches!(connection(wrong), Err(ConnectionError::Address { .. })), "{wrong}");
        }
        let verifier = connection("https://verifier:8881").unwrap();
        let asked = verifier.resource(&["v3.0", "agents", "x", "attestations"]);
        let path = "/v3.0/agents/x/attestations/0";
        assert_eq!(verifier.follow(&asked, path).unwrap().path(), path);
        assert_eq!(verifier.follow(&asked, "attestations/0").unwrap().path(), path);
        for elsewhere in ["https://other:8881/v3.0", "//other/v3.0", "http://verifier:8881/v3.0", "https://verifier/x"]
        {
            assert_eq!(verifier.follow(&asked, elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn tokens_are_checked_and_not_shown() {
        assert_eq!(format!("{:?}", Token::new("secret").unwrap()), "Token(…)");
        for wrong in ["", "two words", "line\nbreak", &"x".repeat(5000)] {
            assert_eq!(Token::new(wrong), None);
        }
    }
}
