//! The trusted authorities of one side, and the check of a chain against them.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, DistinguishedName};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::TlsError;

/// Trusted authorities.
#[derive(Debug)]
pub(super) struct TrustAnchors {
    anchors: Vec<TrustAnchor<'static>>,
    provider: Arc<CryptoProvider>,
}

impl TrustAnchors {
    /// Reads the authorities' certificates.
    pub(super) fn new(certificates: &[CertificateDer<'_>], provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        if certificates.is_empty() {
            return Err(TlsError::NoAuthority);
        }
        let anchors = certificates
            .iter()
            .map(|der| webpki::anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned()))
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError::Authority)?;
        Ok(Self { anchors, provider })
    }

    /// The names a server sends to clients as a hint which certificate to present.
    pub(super) fn subjects(&self) -> Vec<DistinguishedName> {
        self.anchors.iter().map(|anchor| DistinguishedName::in_sequence(&anchor.subject)).collect()
    }

    /// Checks signatures, validity and purpose of a chain.
    ///
    /// An authority's certificate in the place of a leaf, a bad signature or a missing issuer are one answer,
    /// "unknown issuer": that is the TLS alert peers of Keylime expect, whatever the reason the chain failed for.
    pub(super) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), CertificateError> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let certificate = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::BadEncoding)?;
        match certificate.verify_for_usage(algorithms, &self.anchors, intermediates, now, usage, None, None) {
            Ok(_) => Ok(()),
            Err(webpki::Error::CertExpired { .. }) => Err(CertificateError::Expired),
            Err(webpki::Error::CertNotValidYet { .. }) => Err(CertificateError::NotValidYet),
            Err(webpki::Error::RequiredEkuNotFoundContext(_)) => Err(CertificateError::InvalidPurpose),
            Err(_) => Err(CertificateError::UnknownIssuer),
        }
    }
}
