//! X.509 certificates of endorsement and device identity keys, read as tolerantly as manufacturers need it.
//!
//! Certificates in TPMs are written once and never again, and some of them break DER. A strict parser goes first; when it
//! refuses, a bounded walker takes what the registrar and the tenant need (issuer, subject, key, signature) from the
//! original bytes, and the caller learns that it did (`registrar.md` §4, `malformed_cert_action`). The bytes are never
//! re-encoded: what is stored, shown and verified is what the agent sent.

use super::certificate_name::CertificateName;
use super::der::{self, DerError, Reader};
use super::subject_key::{SignatureAlgorithm, SignatureError, SubjectKey, SubjectKeyError};
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use std::ops::Range;

/// Longest certificate, in bytes of DER; larger than any with a 16384-bit key and all TCG attributes.
pub const MAX_CERTIFICATE_BYTES: usize = 32 * 1024;

/// Whether a certificate is well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateForm {
    /// A strict parser accepts it.
    Strict,
    /// Only the lenient walker accepts it; the text says what is wrong with it.
    Lenient(String),
}

/// A certificate with its parts located.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    form: CertificateForm,
    tbs: Range<usize>,
    issuer: Range<usize>,
    subject: Range<usize>,
    spki: Range<usize>,
    signature_algorithm: Range<usize>,
    signature: Range<usize>,
}

/// Why bytes are not a certificate, even to the lenient walker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Longer than [`MAX_CERTIFICATE_BYTES`].
    #[error("certificate is longer than {MAX_CERTIFICATE_BYTES} bytes")]
    TooLong,
    /// Neither PEM nor base64.
    #[error("certificate is neither PEM nor base64 of DER")]
    Encoding,
    /// The structure is broken.
    #[error("certificate structure: {0}")]
    Structure(#[from] DerError),
}

impl Certificate {
    /// Reads DER. Bytes after the certificate (padding of NV indices) are tolerated and kept.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn from_der(der: Vec<u8>) -> Result<Self, CertificateError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(CertificateError::TooLong);
        }
        let mut certificate = locate(der)?;
        if certificate.form == CertificateForm::Strict
            && let Some(reason) = strict_refusal(&certificate.der)
        {
            certificate.form = CertificateForm::Lenient(reason);
        }
        Ok(certificate)
    }

    /// Reads PEM text, which must begin with its header and of which the first certificate counts, or base64 of DER
    /// (`registrar.md` §4).
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn from_text(text: &str) -> Result<Self, CertificateError> {
        // Base64 takes 4/3 of the bytes, PEM adds line breaks; whole chains may follow the first certificate.
        let body = match text.strip_prefix(PEM_BEGIN) {
            Some(rest) => rest.split(PEM_END).next().filter(|body| body.len() < rest.len()),
            None => Some(text),
        };
        let body = body.ok_or(CertificateError::Encoding)?;
        if body.len() > MAX_CERTIFICATE_BYTES * 2 {
            return Err(CertificateError::TooLong);
        }
        let compact: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        Self::from_der(TOLERANT.decode(compact).map_err(|_| CertificateError::Encoding)?)
    }

    /// The bytes as they came.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The bytes as they came, in base64: the form of the registrar's database and wire.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.der)
    }

    /// Whether the certificate is well-formed.
    #[must_use]
    pub fn form(&self) -> &CertificateForm {
        &self.form
    }

    /// The issuer's name.
    #[must_use]
    pub fn issuer(&self) -> CertificateName<'_> {
        CertificateName::new(&self.der[self.issuer.clone()])
    }

    /// The subject's name.
    #[must_use]
    pub fn subject(&self) -> CertificateName<'_> {
        CertificateName::new(&self.der[self.subject.clone()])
    }

    /// The certified key.
    ///
    /// # Errors
    /// When the key is of a type that no TPM certificate uses, or malformed.
    pub fn subject_key(&self) -> Result<SubjectKey, SubjectKeyError> {
        SubjectKey::from_spki_der(&self.der[self.spki.clone()])
    }

    /// Checks the certificate's signature with an issuer's key, over the bytes as they came.
    ///
    /// # Errors
    /// When the signature is wrong, or made with an algorithm that is not supported.
    pub fn verify_signature(&self, issuer_key: &SubjectKey) -> Result<(), SignatureError> {
        let algorithm = SignatureAlgorithm::from_identifier_der(&self.der[self.signature_algorithm.clone()])?;
        issuer_key.verify(algorithm, &self.der[self.tbs.clone()], &self.der[self.signature.clone()])
    }
}

/// Finds the parts (RFC 5280 §4.1) and notes what a strict reader of this structure would not forgive.
fn locate(der: Vec<u8>) -> Result<Certificate, CertificateError> {
    let range = |part: &[u8]| {
        let start = part.as_ptr() as usize - der.as_ptr() as usize;
        start..start + part.len()
    };
    let mut outer = Reader::new(&der);
    let certificate = outer.expect(der::SEQUENCE)?;
    let mut body = Reader::new(certificate.content);
    let tbs = body.expect(der::SEQUENCE)?;
    let signature_algorithm = body.expect(der::SEQUENCE)?;
    let signature = body.expect(der::BIT_STRING)?;
    body.end()?;
    let mut fields = Reader::new(tbs.content);
    if fields.peek() == Some(der::CONTEXT_0) {
        fields.element()?;
    }
    fields.expect(der::INTEGER)?;
    fields.expect(der::SEQUENCE)?;
    let issuer = fields.expect(der::SEQUENCE)?;
    fields.expect(der::SEQUENCE)?;
    let subject = fields.expect(der::SEQUENCE)?;
    let spki = fields.expect(der::SEQUENCE)?;
    let [0, signature_bytes @ ..] = signature.content else { return Err(DerError::Length.into()) };

    let form = if !outer.rest().is_empty() {
        CertificateForm::Lenient("bytes follow the certificate".to_owned())
    } else if outer.canonical() && body.canonical() && fields.canonical() {
        CertificateForm::Strict
    } else {
        CertificateForm::Lenient("a length is not in its shortest form".to_owned())
    };
    let (tbs, issuer, subject) = (range(tbs.raw), range(issuer.raw), range(subject.raw));
    let (spki, signature_algorithm) = (range(spki.raw), range(signature_algorithm.raw));
    let signature = range(signature_bytes);
    Ok(Certificate { der, form, tbs, issuer, subject, spki, signature_algorithm, signature })
}

/// What the strict parser has against the certificate.
fn strict_refusal(der: &[u8]) -> Option<String> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], _)) => None,
        Ok(_) => Some("bytes follow the certificate".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// Python's decoder does not look at the unused bits of the last character.
const TOLERANT: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
