//! Revoked certificates, from lists a trusted authority has signed.
//!
//! The lists of Keylime's authority carry no extensions and are past their next update from the start, so their age is
//! not checked.

use std::collections::HashSet;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use super::TlsError;

/// Issuers and serial numbers of revoked certificates.
#[derive(Debug, Default)]
pub(super) struct RevokedSerials(HashSet<(Vec<u8>, Vec<u8>)>);

impl RevokedSerials {
    /// Reads lists in DER form, each of which one of the authorities must have signed.
    pub(super) fn read(lists: &[Vec<u8>], authorities: &[CertificateDer<'_>]) -> Result<Self, TlsError> {
        let mut revoked = HashSet::new();
        for der in lists {
            let (_, list) = CertificateRevocationList::from_der(der).map_err(|_| TlsError::RevocationList)?;
            if !authorities.iter().any(|authority| signed_by(&list, authority)) {
                return Err(TlsError::RevocationList);
            }
            let issuer = list.issuer().as_raw();
            revoked.extend(
                list.iter_revoked_certificates().map(|entry| (issuer.to_vec(), significant(entry.raw_serial()))),
            );
        }
        Ok(Self(revoked))
    }

    /// Whether a certificate is on one of the lists.
    pub(super) fn contain(&self, certificate: &CertificateDer<'_>) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            // A certificate that cannot be looked up must not pass for one that is not revoked.
            return true;
        };
        let issuer = certificate.issuer().as_raw().to_vec();
        self.0.contains(&(issuer, significant(certificate.raw_serial())))
    }
}

fn signed_by(list: &CertificateRevocationList<'_>, authority: &CertificateDer<'_>) -> bool {
    let Ok((_, authority)) = X509Certificate::from_der(authority) else { return false };
    authority.subject().as_raw() == list.issuer().as_raw() && list.verify_signature(authority.public_key()).is_ok()
}

fn significant(serial: &[u8]) -> Vec<u8> {
    serial[serial.iter().take_while(|byte| **byte == 0).count()..].to_vec()
}
