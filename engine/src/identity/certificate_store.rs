//! The store of manufacturers' certificates and its one-level rule (`registration-flow.md` §3).
//!
//! A certificate is accepted when some certificate in the store has its issuer's name and a key that verifies its
//! signature. Nothing else is looked at: no chain is built, no validity, constraint or revocation is checked, so that
//! intermediate authorities must themselves be in the store. Used by the registrar for IAK and IDevID and by the tenant
//! for EK certificates.

use super::certificate::{Certificate, CertificateError};
use super::subject_key::SignatureError;

/// The store's certificates; reading the directory is the caller's part.
#[derive(Debug, Clone, Default)]
pub struct CertificateStore(Vec<Certificate>);

/// Why no certificate in the store vouches for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotEndorsed {
    /// No certificate in the store has the issuer's name.
    #[error("the issuer is not in the certificate store")]
    UnknownIssuer,
    /// Certificates of that name are there, and none verifies the signature.
    #[error("no certificate of the issuer in the store verifies the signature")]
    Signature,
    /// A certificate of that name is there, but the signature's algorithm is not supported.
    #[error("the signature algorithm is not supported")]
    Unsupported,
}

/// A file of the store that is skipped because its certificate cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedFile {
    /// The file's name.
    pub name: String,
    /// What is wrong with it.
    pub reason: CertificateError,
}

impl CertificateStore {
    /// Takes the first certificate of each `*.pem` text; those that cannot be read are skipped and reported.
    pub fn from_pem_files<'f>(files: impl IntoIterator<Item = (&'f str, &'f str)>) -> (Self, Vec<SkippedFile>) {
        let mut store = Vec::new();
        let mut skipped = Vec::new();
        for (name, text) in files {
            // Text before the first certificate is what `openssl x509 -text` leaves there.
            let start = text.find("-----BEGIN CERTIFICATE-----");
            let parsed = start.map_or(Err(CertificateError::Encoding), |at| Certificate::from_text(&text[at..]));
            match parsed {
                Ok(certificate) => store.push(certificate),
                Err(reason) => skipped.push(SkippedFile { name: name.to_owned(), reason }),
            }
        }
        (Self(store), skipped)
    }

    /// How many certificates the store holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the store holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the store vouches for a certificate.
    ///
    /// # Errors
    /// See [`NotEndorsed`].
    pub fn endorses(&self, certificate: &Certificate) -> Result<(), NotEndorsed> {
        let issuer = certificate.issuer();
        let mut outcome = NotEndorsed::UnknownIssuer;
        for candidate in self.0.iter().filter(|candidate| candidate.subject() == issuer) {
            // Keys of unsupported types are skipped: another certificate of the same name may verify.
            let Ok(key) = candidate.subject_key() else {
                outcome = NotEndorsed::Unsupported;
                continue;
            };
            match certificate.verify_signature(&key) {
                Ok(()) => return Ok(()),
                Err(SignatureError::Wrong) => outcome = NotEndorsed::Signature,
                Err(SignatureError::Unsupported | SignatureError::Structure(_)) => outcome = NotEndorsed::Unsupported,
            }
        }
        Err(outcome)
    }
}
