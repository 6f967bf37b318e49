//! Webhook: one POST per notice (`revocation-and-severity.md` §6).
//!
//! The URL's scheme decides between http and https; the reference takes the scheme from `trusted_server_ca`, which posts
//! notices in clear to a URL that says https. Answers of the 2xx family confirm.

use super::notifier::{Delivery, Notifier};
use crate::ports::OutboxRow;
use async_trait::async_trait;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url, redirect};
use std::time::Duration;

/// Where and how to post.
pub struct WebhookOptions {
    /// `webhook_url`.
    pub url: String,
    /// TLS for https: the verifier's client certificate and the authorities it trusts.
    pub tls: rustls::ClientConfig,
    /// `request_timeout`, for one attempt.
    pub timeout: Duration,
    /// Requests under way at one time.
    pub window: usize,
}

/// Why no webhook can be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWebhook {
    /// Not an http or https URL.
    #[error("webhook_url is not an http or https url")]
    Url,
    /// The HTTP client refused its options.
    #[error("webhook client: {0}")]
    Client(String),
}

/// The notifier.
pub struct Webhook {
    client: Client,
    url: Url,
    window: usize,
}

impl Webhook {
    /// Prepares the client.
    ///
    /// # Errors
    /// See [`InvalidWebhook`].
    pub fn new(options: WebhookOptions) -> Result<Self, InvalidWebhook> {
        let url = Url::parse(&options.url).map_err(|_| InvalidWebhook::Url)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidWebhook::Url);
        }
        let client = Client::builder()
            .tls_backend_preconfigured(options.tls)
            .timeout(options.timeout)
            // A notice goes where the operator said, not where the receiver points to.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| InvalidWebhook::Client(error.to_string()))?;
        Ok(Self { client, url, window: options.window })
    }

    /// Why a receiver was not reached, in the words that operators' scripts look for. The rest of the URL may hold a
    /// credential and is left out.
    fn explain(&self, error: reqwest::Error) -> String {
        let pool = if self.url.scheme() == "https" { "HTTPSConnectionPool" } else { "HTTPConnectionPool" };
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default().unwrap_or_default();
        let error = error.without_url();
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let io = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            let tls = cause.downcast_ref().or_else(|| io.and_then(|inner| inner.downcast_ref()));
            reason = match tls {
                Some(rustls::Error::InvalidCertificate(problem)) => certificate_reason(problem),
                Some(_) | None => cause.to_string(),
            };
            source = cause.source();
        }
        format!("{pool}(host='{host}', port={port}): {reason}")
    }
}

/// A certificate's problem in OpenSSL's words where it has any.
fn certificate_reason(problem: &rustls::CertificateError) -> String {
    use rustls::CertificateError as Problem;
    let words = match problem {
        // The receiver's chain ends in an authority that trusted_server_ca does not name.
        Problem::UnknownIssuer => "self-signed certificate in certificate chain".to_owned(),
        Problem::Expired | Problem::ExpiredContext { .. } => "certificate has expired".to_owned(),
        Problem::NotValidYet | Problem::NotValidYetContext { .. } => "certificate is not yet valid".to_owned(),
        Problem::Revoked => "certificate revoked".to_owned(),
        other => other.to_string(),
    };
    format!("certificate verify failed: {words}")
}

#[async_trait]
impl Notifier for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn window(&self) -> usize {
        self.window
    }

    async fn deliver(&self, row: &OutboxRow) -> Delivery {
        let request =
            self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(row.body.clone());
        let status = match request.send().await {
            Ok(response) => response.status(),
            Err(error) => return Delivery::Away(self.explain(error)),
        };
        if status.is_success() {
            Delivery::Confirmed
        } else if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            Delivery::Away(format!("webhook answered {status}"))
        } else {
            Delivery::Refused(format!("webhook answered {status}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_refused_in_openssl_s_words() {
        let reason = certificate_reason(&rustls::CertificateError::UnknownIssuer);
        assert_eq!(reason, "certificate verify failed: self-signed certificate in certificate chain");
        assert!(certificate_reason(&rustls::CertificateError::BadSignature).starts_with("certificate verify failed: "));
    }
}
