//! A TPM manufacturer: an authority that certifies endorsement keys.

use super::SoftTpmError;
use super::endorsement_pair::EndorsementPair;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
    SubjectPublicKeyInfo,
};

/// The authority and its key.
pub struct Manufacturer {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Manufacturer {
    /// Founds a manufacturer with a fresh ECDSA P-256 key.
    ///
    /// # Errors
    /// [`SoftTpmError::Certificate`].
    pub fn found(name: &str) -> Result<Self, SoftTpmError> {
        let key = KeyPair::generate().map_err(certificate_error)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key).map_err(certificate_error)?.pem();
        Ok(Self { certificate_pem, issuer: Issuer::new(params, key) })
    }

    /// The authority's certificate, for a `tpm_cert_store`.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Certifies an endorsement key; gives DER.
    ///
    /// # Errors
    /// [`SoftTpmError::Certificate`].
    pub fn certify(&self, ek: &EndorsementPair, serial: u64) -> Result<Vec<u8>, SoftTpmError> {
        let key = SubjectPublicKeyInfo::from_der(ek.spki()).map_err(certificate_error)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("software TPM {serial}"));
        params.serial_number = Some(SerialNumber::from(serial));
        params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
        Ok(params.signed_by(&key, &self.issuer).map_err(certificate_error)?.der().to_vec())
    }
}

fn certificate_error(error: rcgen::Error) -> SoftTpmError {
    SoftTpmError::Certificate(error.to_string())
}
