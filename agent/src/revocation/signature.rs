//! Whether a notice was signed with the key of the revocation certificate (`agent-api.md` §5).
//!
//! The salt has the longest length the key allows, which the main cryptography library does not verify; the second one
//! does. It only handles public values here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::sha2::{Digest as _, Sha256};
use rsa::traits::PublicKeyParts as _;
use rsa::{Pss, RsaPublicKey};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Smallest key a notice may be signed with, in bits.
const MIN_KEY_BITS: usize = 2048;
const HASH_BYTES: usize = 32;

/// Why a certificate cannot check notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRevocationCertificate {
    /// It is not a PEM certificate.
    #[error("revocation certificate is not a pem certificate")]
    Encoding,
    /// Its key is not RSA.
    #[error("revocation certificate does not hold an rsa key")]
    NotRsa,
    /// Its key is too small.
    #[error("key of the revocation certificate is smaller than {MIN_KEY_BITS} bits")]
    TooSmall,
}

/// Why a notice is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNotice {
    /// The signature is not base64.
    #[error("signature of the revocation notice is not base64")]
    Encoding,
    /// The signature was made with another key or over another text.
    #[error("signature of the revocation notice does not match")]
    Mismatch,
}

/// Checks notices.
#[derive(Debug, Clone)]
pub struct NoticeVerifier {
    key: RsaPublicKey,
}

impl NoticeVerifier {
    /// Takes the key of a PEM certificate.
    ///
    /// # Errors
    /// See [`InvalidRevocationCertificate`].
    pub fn from_certificate(pem: &[u8]) -> Result<Self, InvalidRevocationCertificate> {
        let der = CertificateDer::from_pem_slice(pem).map_err(|_| InvalidRevocationCertificate::Encoding)?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| InvalidRevocationCertificate::Encoding)?;
        let key = RsaPublicKey::from_public_key_der(certificate.public_key().raw)
            .map_err(|_| InvalidRevocationCertificate::NotRsa)?;
        if key.size() * 8 < MIN_KEY_BITS {
            return Err(InvalidRevocationCertificate::TooSmall);
        }
        Ok(Self { key })
    }

    /// Checks the base64 signature over the text of a notice.
    ///
    /// # Errors
    /// See [`InvalidNotice`].
    pub fn verify(&self, message: &str, signature: &str) -> Result<(), InvalidNotice> {
        let signature = STANDARD.decode(signature).map_err(|_| InvalidNotice::Encoding)?;
        let longest_salt = self.key.size() - HASH_BYTES - 2;
        let scheme = Pss::new_with_salt::<Sha256>(longest_salt);
        let hash = Sha256::digest(message.as_bytes());
        self.key.verify(scheme, &hash, &signature).map_err(|_| InvalidNotice::Mismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_notice_is_believed_and_a_changed_one_not() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/data/revocation.json")).unwrap();
        let verifier =
            NoticeVerifier::from_certificate(vectors["certificate_pem"].as_str().unwrap().as_bytes()).unwrap();
        let body: serde_json::Value = serde_json::from_str(vectors["agent_request_body"].as_str().unwrap()).unwrap();
        let (message, signature) = (body["msg"].as_str().unwrap(), body["signature"].as_str().unwrap());
        assert_eq!(verifier.verify(message, signature), Ok(()));
        let tampered = vectors["tampered"]["msg"].as_str().unwrap();
        assert_eq!(verifier.verify(tampered, signature), Err(InvalidNotice::Mismatch));
        assert_eq!(verifier.verify(message, ""), Err(InvalidNotice::Mismatch));
        assert_eq!(verifier.verify(message, "!"), Err(InvalidNotice::Encoding));
    }

    #[test]
    fn certificates_of_the_wrong_kind_are_refused() {
        let invalid = |text: &[u8]| NoticeVerifier::from_certificate(text).unwrap_err();
        assert_eq!(invalid(b"x"), InvalidRevocationCertificate::Encoding);
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let ec = rcgen::CertificateParams::default().self_signed(&pair).unwrap().pem();
        assert_eq!(invalid(ec.as_bytes()), InvalidRevocationCertificate::NotRsa);
    }
}
