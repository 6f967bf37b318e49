//! Whether somebody vouches for the endorsement key of an agent that is being enrolled (`registration-flow.md` §3).
//!
//! That the certificate belongs to the registered key is the registrar's check; here it is asked who signed it.

use super::certificate::{Certificate, CertificateError};
use super::certificate_store::{CertificateStore, NotEndorsed};

/// The text that software TPMs of tests once registered in place of a certificate. It vouches for nothing.
const EMULATOR: &str = "emulator";

/// Why nobody vouches for an endorsement key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndorsementRefusal {
    /// The agent registered no certificate.
    #[error("the agent registered no EK certificate")]
    NoCertificate,
    /// The agent says it has an emulated TPM.
    #[error("the agent registered an emulated TPM")]
    Emulator,
    /// The certificate cannot be read.
    #[error("the EK certificate cannot be read: {0}")]
    Unreadable(#[from] CertificateError),
    /// No certificate of the store has signed it.
    #[error("No Root CA matched EK Certificate")]
    NotEndorsed(#[from] NotEndorsed),
}

/// Checks the certificate an agent registered (base64 of DER) against the store.
///
/// # Errors
/// See [`EndorsementRefusal`].
pub fn check_certificate(registered: Option<&str>, store: &CertificateStore) -> Result<(), EndorsementRefusal> {
    match registered {
        None | Some("") => Err(EndorsementRefusal::NoCertificate),
        Some(EMULATOR) => Err(EndorsementRefusal::Emulator),
        Some(text) => Ok(store.endorses(&Certificate::from_text(text)?)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_vouches_for_a_missing_emulated_or_garbled_certificate() {
        let store = CertificateStore::default();
        assert_eq!(check_certificate(None, &store), Err(EndorsementRefusal::NoCertificate));
        assert_eq!(check_certificate(Some(""), &store), Err(EndorsementRefusal::NoCertificate));
        assert_eq!(check_certificate(Some("emulator"), &store), Err(EndorsementRefusal::Emulator));
        assert!(matches!(check_certificate(Some("AAAA"), &store), Err(EndorsementRefusal::Unreadable(_))));
    }
}
