//! Policies and keys named by address (`tenant-cli.md` §3.5).

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tempfile::NamedTempFile;

use crate::error::TenantError;
use crate::http::{Body, HttpClient, Method};

/// Where Debian, Fedora and Alpine keep the system's authorities.
const SYSTEM_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Fetches files, trusting the system's authorities as browsers do.
#[derive(Debug)]
pub struct Downloader {
    http: HttpClient,
}

impl Downloader {
    /// A downloader.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(timeout: Duration) -> Result<Self, TenantError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TenantError::refused(error.to_string()))?
            .with_root_certificates(system_authorities())
            .with_no_client_auth();
        Ok(Self { http: HttpClient::new(config, timeout)? })
    }

    /// Fetches what is called `kind` in messages into a file that disappears with the value returned.
    ///
    /// # Errors
    /// The server cannot be reached, answers with anything but 200, or the file cannot be written.
    pub async fn fetch(&self, kind: &str, url: &str) -> Result<NamedTempFile, TenantError> {
        let reply = self.http.send(Method::Get, url, Body::Empty).await?;
        if reply.status != 200 {
            let message = format!("Downloading {kind} ({url}) failed with status code {}!", reply.status);
            return Err(TenantError::refused(message));
        }
        let failed = |error: std::io::Error| TenantError::refused(format!("cannot store {url}: {error}"));
        let mut file = tempfile::Builder::new().prefix("keylime-").tempfile().map_err(failed)?;
        file.write_all(&reply.body).map_err(failed)?;
        Ok(file)
    }
}

/// The authorities of the system; none if it has no bundle, and then only plain HTTP works.
fn system_authorities() -> RootCertStore {
    let mut store = RootCertStore::empty();
    let given = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let bundles = given.into_iter().chain(SYSTEM_BUNDLES.map(std::path::PathBuf::from));
    if let Some(text) = bundles.filter_map(|path| std::fs::read(path).ok()).next() {
        // Bundles hold certificates that webpki does not take as anchors; the others still count.
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).filter_map(Result::ok));
    }
    store
}
