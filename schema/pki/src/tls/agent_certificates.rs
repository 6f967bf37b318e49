//! Which certificate an agent may present to the verifier, decided after the handshake and before the first byte.
//!
//! One client configuration serves all agents: its handshake proves that the peer owns the certificate it presents, and
//! this check decides whether that is the certificate of the agent that is meant.

use std::sync::Arc;

use rustls::CertificateError;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::KeyUsage;

use super::server_verifier::check_validity;
use super::trust_anchors::TrustAnchors;
use super::{TlsError, provider};

/// The check, for all agents of a verifier.
#[derive(Debug)]
pub struct AgentCertificates {
    anchors: Option<TrustAnchors>,
}

impl AgentCertificates {
    /// A check that besides registered certificates accepts those that chain to `authorities` (may be empty).
    ///
    /// # Errors
    /// An authority's certificate is malformed.
    pub fn new(authorities: &[CertificateDer<'_>]) -> Result<Self, TlsError> {
        let anchors = match authorities {
            [] => None,
            authorities => Some(TrustAnchors::new(authorities, Arc::clone(&provider()))?),
        };
        Ok(Self { anchors })
    }

    /// Checks the chain a peer presented against the SHA-256 digest of the certificate that the agent registered, if any.
    ///
    /// # Errors
    /// It is neither that certificate nor issued by an authority, or it is not valid in time.
    pub fn check(
        &self,
        chain: Option<&[CertificateDer<'_>]>,
        registered_sha256: Option<&[u8; 32]>,
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let Some((leaf, intermediates)) = chain.and_then(<[_]>::split_first) else {
            return Err(CertificateError::UnknownIssuer);
        };
        if let Some(registered) = registered_sha256 {
            let presented = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf);
            if presented.as_ref() == registered {
                return check_validity(leaf, now);
            }
        }
        match &self.anchors {
            Some(anchors) => anchors.verify(leaf, intermediates, now, KeyUsage::server_auth()),
            None => Err(CertificateError::UnknownIssuer),
        }
    }
}
