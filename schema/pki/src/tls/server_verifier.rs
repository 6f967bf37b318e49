//! How a client checks server certificates. Host names are compared only where the rule says so
//! ([`ServerTrust::AuthoritiesAndName`]); possession of the key always is.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;

use super::TlsError;
use super::trust_anchors::TrustAnchors;

/// Which servers a client trusts.
#[derive(Debug, Clone)]
pub enum ServerTrust {
    /// Servers whose chain ends at one of these authorities.
    Authorities(Vec<CertificateDer<'static>>),
    /// Those among them whose certificate names the host that was asked for.
    AuthoritiesAndName(Vec<CertificateDer<'static>>),
    /// Those, and the server with exactly this certificate: an agent's, as it registered it.
    AuthoritiesOrExact {
        /// The authorities; may be empty.
        authorities: Vec<CertificateDer<'static>>,
        /// The one further certificate.
        exact: CertificateDer<'static>,
    },
    /// Any server (`trusted_server_ca = all`).
    All,
}

/// Verifies server certificates.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    rule: Rule,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Rule {
    Chain { anchors: Option<TrustAnchors>, exact: Option<CertificateDer<'static>> },
    ChainAndName(TrustAnchors),
    Any,
}

impl ServerVerifier {
    pub(super) fn new(trust: ServerTrust, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let rule = match trust {
            ServerTrust::Authorities(authorities) => {
                Rule::Chain { anchors: Some(TrustAnchors::new(&authorities, Arc::clone(&provider))?), exact: None }
            }
            ServerTrust::AuthoritiesAndName(authorities) => {
                Rule::ChainAndName(TrustAnchors::new(&authorities, Arc::clone(&provider))?)
            }
            ServerTrust::AuthoritiesOrExact { authorities, exact } => {
                let anchors = match authorities.as_slice() {
                    [] => None,
                    authorities => Some(TrustAnchors::new(authorities, Arc::clone(&provider))?),
                };
                Rule::Chain { anchors, exact: Some(exact) }
            }
            ServerTrust::All => Rule::Any,
        };
        Ok(Self { rule, provider })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.rule {
            Rule::Any => {}
            Rule::Chain { exact: Some(exact), .. } if exact == end_entity => check_validity(end_entity, now)?,
            Rule::Chain { anchors: Some(anchors), .. } => {
                anchors.verify(end_entity, intermediates, now, KeyUsage::server_auth())?;
            }
            Rule::ChainAndName(anchors) => {
                anchors.verify(end_entity, intermediates, now, KeyUsage::server_auth())?;
                let certificate = EndEntityCert::try_from(end_entity).map_err(|_| CertificateError::BadEncoding)?;
                certificate
                    .verify_is_valid_for_subject_name(server_name)
                    .map_err(|_| CertificateError::NotValidForName)?;
            }
            Rule::Chain { anchors: None, .. } => return Err(CertificateError::UnknownIssuer.into()),
        }
        Ok(ServerCertVerified::assertion())
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

/// Checks the dates of a certificate that is trusted by itself.
pub(super) fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs())
        .ok()
        .and_then(|seconds| ASN1Time::from_timestamp(seconds).ok())
        .ok_or(CertificateError::BadEncoding)?;
    let validity = certificate.validity();
    if now > validity.not_after {
        return Err(CertificateError::Expired);
    }
    if now < validity.not_before {
        return Err(CertificateError::NotValidYet);
    }
    Ok(())
}
