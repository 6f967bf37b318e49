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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::certificate_store::{CertificateStore, NotEndorsed};
    use crate::identity::subject_key::SubjectKey;
    use proptest::prelude::*;

    /// Certificates made with OpenSSL: an authority on P-384 (SHA-384), a leaf on P-521 that it signed, its SPKI with a
    /// compressed point, an RSA-PSS signed leaf, and a leaf whose RSA key stands under the identifier of RSAES-OAEP.
    fn made(name: &str) -> String {
        let data = include_str!("../../tests/data/certificates.json");
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        data[name].as_str().unwrap().to_owned()
    }

    fn store(names: &[&str]) -> CertificateStore {
        let files: Vec<(String, String)> = names.iter().map(|name| ((*name).to_owned(), made(name))).collect();
        let (store, skipped) = CertificateStore::from_pem_files(files.iter().map(|(n, t)| (n.as_str(), t.as_str())));
        assert_eq!(skipped, []);
        store
    }

    fn certificate(name: &str) -> Certificate {
        Certificate::from_text(&made(name)).unwrap()
    }

    #[test]
    fn the_direct_issuer_must_be_in_the_store() {
        let leaf = certificate("leaf_p521");
        assert_eq!(*leaf.form(), CertificateForm::Strict);
        assert_eq!(store(&["authority_p384", "authority_rsa"]).endorses(&leaf), Ok(()));
        assert_eq!(store(&["authority_rsa"]).endorses(&leaf), Err(NotEndorsed::UnknownIssuer));
        assert_eq!(store(&["impostor_p384"]).endorses(&leaf), Err(NotEndorsed::Signature));
        assert_eq!(store(&["impostor_p384", "authority_p384"]).endorses(&leaf), Ok(()), "any certificate of the name");
        assert_eq!(CertificateStore::default().endorses(&leaf), Err(NotEndorsed::UnknownIssuer));
    }

    #[test]
    fn one_level_only() {
        let below = certificate("below_intermediate");
        assert_eq!(store(&["authority_rsa"]).endorses(&below), Err(NotEndorsed::UnknownIssuer));
        assert_eq!(store(&["intermediate"]).endorses(&below), Ok(()));
        assert_eq!(store(&["authority_rsa"]).endorses(&certificate("intermediate")), Ok(()));
    }

    #[test]
    fn pss_signatures_do_not_verify_and_sha1_ones_do() {
        let store = store(&["authority_rsa"]);
        assert_eq!(store.endorses(&certificate("leaf_pss")), Err(NotEndorsed::Unsupported));
        assert_eq!(store.endorses(&certificate("leaf_sha1")), Ok(()));
    }

    #[test]
    fn one_key_has_one_form_however_it_is_written() {
        let plain = certificate("leaf_rsa").subject_key().unwrap();
        assert_eq!(certificate("leaf_rsa_oaep").subject_key().unwrap(), plain);
        let SubjectKey::Ec { point, .. } = certificate("leaf_p521").subject_key().unwrap() else { panic!("a curve") };
        let compressed = STANDARD.decode(made("leaf_p521_compressed_spki")).unwrap();
        let SubjectKey::Ec { point: expanded, .. } = SubjectKey::from_spki_der(&compressed).unwrap() else {
            panic!("a curve")
        };
        assert_eq!(expanded, point);
    }

    #[test]
    fn only_the_first_certificate_of_a_pem_text_counts() {
        let chain = made("leaf_p521") + &made("authority_p384");
        assert_eq!(Certificate::from_text(&chain).unwrap().der(), certificate("leaf_p521").der());
        let base64 = certificate("leaf_p521").to_base64();
        assert_eq!(Certificate::from_text(&base64).unwrap().der(), certificate("leaf_p521").der());
        for text in ["", "junk", "-----BEGIN CERTIFICATE-----", "x-----BEGIN CERTIFICATE-----\n", "MA=="] {
            assert!(Certificate::from_text(text).is_err(), "{text:?}");
        }
        assert_eq!(Certificate::from_der(vec![0; MAX_CERTIFICATE_BYTES + 1]), Err(CertificateError::TooLong));
    }

    #[test]
    fn wasteful_lengths_are_read_leniently_and_still_verify() {
        let strict = certificate("leaf_p521");
        // The outer length in three octets where two suffice.
        let mut der = strict.der().to_vec();
        assert_eq!(der[1], 0x82);
        der.splice(1..2, [0x83, 0]);
        let lenient = Certificate::from_der(der).unwrap();
        assert!(matches!(lenient.form(), CertificateForm::Lenient(_)));
        assert_eq!(lenient.subject_key().unwrap(), strict.subject_key().unwrap());
        assert_eq!(store(&["authority_p384"]).endorses(&lenient), Ok(()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(certificate) = Certificate::from_der(bytes) {
                let _ = certificate.subject_key();
            }
        }

        /// No changed byte of the signed part or the signature is endorsed.
        #[test]
        fn a_changed_certificate_is_not_endorsed(at in 0..600_usize, flip in 1..=255_u8) {
            let leaf = certificate("leaf_p521");
            let mut der = leaf.der().to_vec();
            let at = at % der.len();
            der[at] ^= flip;
            let store = store(&["authority_p384"]);
            if let Ok(changed) = Certificate::from_der(der) {
                let _ = changed.subject_key();
                // The outer lengths and the second copy of the algorithm are not signed, but must still fit.
                let unsigned = changed.der()[changed.tbs.clone()] == leaf.der()[leaf.tbs.clone()]
                    && changed.der()[changed.signature.clone()] == leaf.der()[leaf.signature.clone()];
                prop_assert!(unsigned || store.endorses(&changed).is_err());
            }
        }
    }
}
