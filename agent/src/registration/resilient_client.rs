//! HTTP requests that are sent again when the failure may pass (`registration-flow.md` §1), with bounded answers.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::Value;
use time::OffsetDateTime;

use crate::configuration::settings::BackoffSettings;
use crate::push::connection::with_causes;
use crate::registration::retry::{Attempt, parse_retry_after, wait_before_retry};

/// Largest answer read, in bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const REQUEST_ID_LENGTH: usize = 6;
const REQUEST_ID_ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// An answer read completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the status is 2xx.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    /// The body as text for people, at most 1000 characters.
    #[must_use]
    pub fn excerpt(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().filter(|c| !c.is_control()).take(1000).collect()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The connection or the transfer failed, also after all retries.
    #[error("request failed: {}", with_causes(.0))]
    Transport(#[from] reqwest::Error),
    /// The answer is longer than any this client expects.
    #[error("answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
}

/// Sends requests and repeats them.
#[derive(Debug, Clone)]
pub struct ResilientClient {
    client: Client,
    backoff: BackoffSettings,
}

impl ResilientClient {
    /// A client; `tls` is for `https` addresses.
    ///
    /// # Errors
    /// The TLS configuration cannot be used.
    pub fn new(tls: Option<rustls::ClientConfig>, backoff: BackoffSettings) -> Result<Self, RequestError> {
        let mut builder = Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT).no_proxy();
        if let Some(configuration) = tls {
            builder = builder.tls_backend_preconfigured(configuration);
        }
        Ok(Self { client: builder.build()?, backoff })
    }

    /// Sends a request, with a JSON body if there is one.
    ///
    /// # Errors
    /// See [`RequestError`]; an answer of any status is no error.
    pub async fn send(&self, method: Method, url: &str, body: Option<&Value>) -> Result<Answer, RequestError> {
        let request_id = random_request_id();
        let mut attempt = 0;
        loop {
            let result = self.send_once(method.clone(), url, body, &request_id).await;
            let outcome = match &result {
                Ok((answer, retry_after)) => Attempt::Answered { status: answer.status, retry_after: *retry_after },
                Err(RequestError::Transport(error)) => {
                    tracing::debug!(target: "keylime.agent", url, reason = with_causes(error), "request failed");
                    Attempt::Transport
                }
                Err(RequestError::TooLong) => return result.map(|(answer, _)| answer),
            };
            let Some(wait) = wait_before_retry(&outcome, attempt, &self.backoff) else {
                return result.map(|(answer, _)| answer);
            };
            tracing::warn!(target: "keylime.agent", url, ?outcome, wait_ms = wait.as_millis(), "retrying request");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    async fn send_once(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
        request_id: &str,
    ) -> Result<(Answer, Option<Duration>), RequestError> {
        let mut request = self.client.request(method, url).header("X-Request-ID", request_id);
        if let Some(body) = body {
            request = request.header("Accept", "application/json").json(body);
        }
        let mut response = request.send().await?;
        let retry_after = response
            .headers()
            .get("Retry-After")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| parse_retry_after(text, OffsetDateTime::now_utc()));
        let status = response.status().as_u16();
        let mut content = Vec::new();
        while let Some(part) = response.chunk().await? {
            if content.len() + part.len() > MAX_ANSWER_BYTES {
                return Err(RequestError::TooLong);
            }
            content.extend_from_slice(&part);
        }
        Ok((Answer { status, body: content }, retry_after))
    }
}

/// An id that ties this agent's log to the registrar's; no secret, so the slight bias of the remainder is harmless.
pub(crate) fn random_request_id() -> String {
    let mut bytes = [0; REQUEST_ID_LENGTH];
    // Without randomness the id is constant, which costs nothing but readability of a log.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes.iter().map(|&byte| char::from(REQUEST_ID_ALPHABET[usize::from(byte) % REQUEST_ID_ALPHABET.len()])).collect()
}
