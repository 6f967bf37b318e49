//! The certificate revocation list: version 2, without extensions, due for renewal the moment it is made.
//!
//! Keylime's readers look at the revoked serial numbers only; there is no list number and no key identifier, and the
//! date of every entry is the date of the list.

use rcgen::{KeyPair, SigningKey as _};
use time::OffsetDateTime;
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::der::asn1::{Any, BitString, GeneralizedTime, ObjectIdentifier, UtcTime};
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{Decode as _, Encode as _, EncodePem as _};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::time::Time;
use x509_cert::{Certificate, Version};

use super::AuthorityError;

const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A signed list in both encodings.
pub(super) struct RevocationList {
    pub(super) der: Vec<u8>,
    pub(super) pem: String,
}

/// Signs a list of the serial numbers given in decimal.
pub(super) fn sign(
    authority: &[u8],
    key: &KeyPair,
    revoked: &[String],
    now: OffsetDateTime,
) -> Result<RevocationList, AuthorityError> {
    let authority =
        Certificate::from_der(authority).map_err(|_| AuthorityError::Encoding("the authority's certificate"))?;
    let now = encode_time(now)?;
    let entries = revoked.iter().map(|serial| entry(serial, now)).collect::<Result<Vec<_>, _>>()?;
    let signature_algorithm = algorithm(key)?;
    let tbs_cert_list = TbsCertList {
        version: Version::V2,
        signature: signature_algorithm.clone(),
        issuer: authority.tbs_certificate().subject().clone(),
        this_update: now,
        next_update: Some(now),
        revoked_certificates: (!entries.is_empty()).then_some(entries),
        crl_extensions: None,
    };
    let signed = tbs_cert_list.to_der().map_err(|_| AuthorityError::Encoding("revocation list"))?;
    let signature = key.sign(&signed).map_err(|error| AuthorityError::Crypto(error.to_string()))?;
    let signature = BitString::from_bytes(&signature).map_err(|_| AuthorityError::Encoding("signature"))?;
    let list = CertificateList { tbs_cert_list, signature_algorithm, signature };
    let der = list.to_der().map_err(|_| AuthorityError::Encoding("revocation list"))?;
    let pem = list.to_pem(LineEnding::LF).map_err(|_| AuthorityError::Encoding("revocation list"))?;
    Ok(RevocationList { der, pem })
}

/// The serial number of a certificate in decimal, as keystores record it; `None` if it exceeds 128 bits or the
/// certificate is malformed.
pub(super) fn decimal_serial(certificate: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let bytes = certificate.tbs_certificate().serial_number().as_bytes();
    let significant: &[u8] = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    let mut number = [0; 16];
    let start = number.len().checked_sub(significant.len())?;
    number[start..].copy_from_slice(significant);
    Some(u128::from_be_bytes(number).to_string())
}

fn entry(serial: &str, revocation_date: Time) -> Result<RevokedCert, AuthorityError> {
    let invalid = || AuthorityError::Encoding("revoked serial number");
    let number: u128 = serial.parse().map_err(|_| invalid())?;
    let bytes = number.to_be_bytes();
    let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1)..];
    let serial_number = SerialNumber::new(significant).map_err(|_| invalid())?;
    Ok(RevokedCert { serial_number, revocation_date, crl_entry_extensions: None })
}

fn encode_time(time: OffsetDateTime) -> Result<Time, AuthorityError> {
    let invalid = || AuthorityError::Encoding("time");
    let seconds = u64::try_from(time.unix_timestamp()).map_err(|_| invalid())?;
    let since_epoch = std::time::Duration::from_secs(seconds);
    UtcTime::from_unix_duration(since_epoch)
        .map(Time::UtcTime)
        .or_else(|_| GeneralizedTime::from_unix_duration(since_epoch).map(Time::GeneralTime))
        .map_err(|_| invalid())
}

/// The algorithm identifier of a key's signatures; RSA has NULL parameters, the others none.
fn algorithm(key: &KeyPair) -> Result<AlgorithmIdentifierOwned, AuthorityError> {
    let algorithm = key.algorithm();
    let (oid, parameters) = if *algorithm == rcgen::PKCS_RSA_SHA256 {
        (SHA256_WITH_RSA, Some(Any::null()))
    } else if *algorithm == rcgen::PKCS_ECDSA_P256_SHA256 {
        (ECDSA_WITH_SHA256, None)
    } else if *algorithm == rcgen::PKCS_ECDSA_P384_SHA384 {
        (ECDSA_WITH_SHA384, None)
    } else if *algorithm == rcgen::PKCS_ED25519 {
        (ED25519, None)
    } else {
        return Err(AuthorityError::SigningKey);
    };
    Ok(AlgorithmIdentifierOwned { oid, parameters })
}
