//! How a server checks client certificates.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::KeyUsage;

use super::TlsError;
use super::revoked::RevokedSerials;
use super::trust_anchors::TrustAnchors;

/// What happens to clients that present no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WithoutCertificate {
    /// The handshake completes; the routes decide what such a client may do.
    Admit,
    /// The handshake fails.
    Refuse,
}

/// Verifies client certificates against the configured authorities.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    anchors: TrustAnchors,
    hints: Vec<DistinguishedName>,
    revoked: RevokedSerials,
    without_certificate: WithoutCertificate,
    provider: Arc<CryptoProvider>,
}

impl ClientVerifier {
    pub(super) fn new(
        authorities: &[CertificateDer<'_>],
        revoked: RevokedSerials,
        without_certificate: WithoutCertificate,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let anchors = TrustAnchors::new(authorities, Arc::clone(&provider))?;
        Ok(Self { hints: anchors.subjects(), anchors, revoked, without_certificate, provider })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.without_certificate == WithoutCertificate::Refuse
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.anchors.verify(end_entity, intermediates, now, KeyUsage::client_auth())?;
        if self.revoked.contain(end_entity) {
            return Err(CertificateError::Revoked.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
