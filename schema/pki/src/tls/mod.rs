//! TLS configurations with Keylime's rules, on rustls and aws-lc-rs, TLS 1.2 and later.
//!
//! * A server asks for a client certificate; a client without one completes the handshake, and the routes decide
//!   ([`optional_client_auth`]). The agent insists on one ([`required_client_auth`]).
//! * A presented certificate must chain to the configured authorities, be valid in time, not be revoked, and not be
//!   restricted to another purpose.
//! * A client compares host names only for [`ServerTrust::AuthoritiesAndName`] ([`client`]): Keylime tells machines apart by
//!   their attested keys.

mod agent_certificates;
mod client_verifier;
mod identity;
mod revoked;
mod server_verifier;
mod trust_anchors;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use client_verifier::{ClientVerifier, WithoutCertificate};
use revoked::RevokedSerials;
use server_verifier::ServerVerifier;

pub use agent_certificates::AgentCertificates;
pub use identity::{Identity, load_certificates, load_crl, load_identity};
pub use server_verifier::ServerTrust;

const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// Why certificates, keys or configurations cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds no certificate.
    #[error("{0} does not hold a certificate in PEM form")]
    NoCertificate(std::path::PathBuf),
    /// A file holds no usable key, or its password is wrong.
    #[error("{path}: {source}", path = .path.display())]
    PrivateKey {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with the key.
        source: crate::private_key::PrivateKeyError,
    },
    /// No trusted authority is configured.
    #[error("no trusted certificate authority is configured")]
    NoAuthority,
    /// A trusted certificate is malformed.
    #[error("certificate of a trusted authority is malformed")]
    Authority,
    /// A revocation list is malformed, or no trusted authority has signed it.
    #[error("revocation list is malformed or not signed by a trusted authority")]
    RevocationList,
    /// Certificate and key do not belong together, or the key's type is not supported.
    #[error("certificate and private key cannot be used: {0}")]
    Identity(rustls::Error),
}

/// A server that asks for client certificates and lets clients without one in.
///
/// # Errors
/// [`TlsError`] if the identity, an authority or a revocation list cannot be used.
pub fn optional_client_auth(
    identity: Identity,
    client_ca: Vec<CertificateDer<'static>>,
    crls: Vec<Vec<u8>>,
) -> Result<ServerConfig, TlsError> {
    let revoked = RevokedSerials::read(&crls, &client_ca)?;
    let verifier = ClientVerifier::new(&client_ca, revoked, WithoutCertificate::Admit, provider())?;
    server(identity, Arc::new(verifier))
}

/// A server that refuses clients without a certificate: the agent.
///
/// # Errors
/// [`TlsError`] if the identity or an authority cannot be used.
pub fn required_client_auth(
    identity: Identity,
    client_ca: Vec<CertificateDer<'static>>,
) -> Result<ServerConfig, TlsError> {
    let verifier = ClientVerifier::new(&client_ca, RevokedSerials::default(), WithoutCertificate::Refuse, provider())?;
    server(identity, Arc::new(verifier))
}

/// A server that does not ask for client certificates (`trusted_client_ca = all`).
///
/// # Errors
/// [`TlsError::Identity`] if the identity cannot be used.
pub fn no_client_auth(identity: Identity) -> Result<ServerConfig, TlsError> {
    server(identity, rustls::server::WebPkiClientVerifier::no_client_auth())
}

/// A client that presents the identity, if there is one, to servers it trusts.
///
/// # Errors
/// [`TlsError`] if the identity or an authority cannot be used.
pub fn client(identity: Option<Identity>, trust: ServerTrust) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier = ServerVerifier::new(trust, Arc::clone(&provider))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)
        .map_err(TlsError::Identity)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match identity {
        Some(identity) => builder.with_client_auth_cert(identity.certs, identity.key).map_err(TlsError::Identity),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// The first common name of a certificate's subject.
#[must_use]
pub fn common_name(cert_der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(cert_der).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}

fn server(identity: Identity, verifier: Arc<dyn ClientCertVerifier>) -> Result<ServerConfig, TlsError> {
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(TlsError::Identity)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.certs, identity.key)
        .map_err(TlsError::Identity)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
