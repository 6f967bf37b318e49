//! Reads a public key from bytes of unknown form, as Keylime does for key rings and measured keys (`ima.md` §8.3).
//!
//! Tried in order: certificate (DER, PEM), public key (DER, PEM), unencrypted private key (DER, PEM). The first form that
//! fits decides. Validity dates and signatures of certificates are not checked: the operator's policy vouches for the key.

use super::der_reader::{element, only, tag, unsigned};
use super::verification_key::{Curve, SpkiError, VerificationKey};
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _};
use base64::Engine as _;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A key with the id its certificate gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadKey {
    /// The key.
    pub key: VerificationKey,
    /// Last four bytes of the certificate's subject key identifier, when it has at least four.
    pub id_in_certificate: Option<u32>,
}

impl ReadKey {
    /// The id signatures refer to: the certificate's, or the computed one when that is missing or zero.
    #[must_use]
    pub fn key_id(&self) -> u32 {
        self.id_in_certificate.filter(|id| *id != 0).unwrap_or_else(|| self.key.key_id())
    }
}

/// Why bytes are no key that can verify file signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyReadError {
    /// None of the known forms.
    #[error("not a key or certificate of a known form")]
    NotAKey,
    /// A key of another type than RSA and EC.
    #[error("unsupported key type {0}")]
    UnsupportedType(&'static str),
}

impl From<SpkiError> for KeyReadError {
    fn from(error: SpkiError) -> Self {
        match error {
            SpkiError::Malformed => Self::NotAKey,
            SpkiError::UnsupportedType(name) => Self::UnsupportedType(name),
        }
    }
}

/// Reads a key or certificate of any of the known forms.
///
/// # Errors
/// See [`KeyReadError`].
pub fn read_key(bytes: &[u8]) -> Result<ReadKey, KeyReadError> {
    let text = pem_text(bytes);
    let mut forms = vec![Form::Certificate(bytes.into())];
    forms.extend(text.and_then(|t| pem_block(t, &["CERTIFICATE", "X509 CERTIFICATE"])).map(Form::Certificate));
    forms.push(Form::Public(bytes.into()));
    forms.extend(text.and_then(|t| pem_block(t, &["PUBLIC KEY", "RSA PUBLIC KEY"])).map(Form::Public));
    forms.push(Form::Private(bytes.into()));
    forms.extend(
        text.and_then(|t| pem_block(t, &["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"])).map(Form::Private),
    );
    for form in forms {
        match form.read() {
            Err(KeyReadError::NotAKey) => {}
            decided => return decided,
        }
    }
    Err(KeyReadError::NotAKey)
}

/// Reads a DER public key: `SubjectPublicKeyInfo` or a bare PKCS#1 `RSAPublicKey`.
///
/// # Errors
/// See [`KeyReadError`].
pub fn read_public_der(der: &[u8]) -> Result<VerificationKey, KeyReadError> {
    match VerificationKey::from_spki(der) {
        Err(SpkiError::Malformed) => Ok(VerificationKey::from_pkcs1(der)?),
        decided => Ok(decided?),
    }
}

/// Reads a public key from PEM text.
///
/// # Errors
/// See [`KeyReadError`].
pub fn read_public_pem(bytes: &[u8]) -> Result<VerificationKey, KeyReadError> {
    let der = pem_text(bytes).and_then(|text| pem_block(text, &["PUBLIC KEY", "RSA PUBLIC KEY"]));
    read_public_der(&der.ok_or(KeyReadError::NotAKey)?)
}

/// Reads the key of a PEM certificate.
///
/// # Errors
/// See [`KeyReadError`].
pub fn read_certificate_pem(bytes: &[u8]) -> Result<VerificationKey, KeyReadError> {
    let der = pem_text(bytes).and_then(|text| pem_block(text, &["CERTIFICATE", "X509 CERTIFICATE"]));
    read_certificate(&der.ok_or(KeyReadError::NotAKey)?).map(|read| read.key)
}

enum Form {
    Certificate(Vec<u8>),
    Public(Vec<u8>),
    Private(Vec<u8>),
}

impl Form {
    fn read(&self) -> Result<ReadKey, KeyReadError> {
        let plain = |key| ReadKey { key, id_in_certificate: None };
        match self {
            Self::Certificate(der) => read_certificate(der),
            Self::Public(der) => read_public_der(der).map(plain),
            Self::Private(der) => read_private(der).map(plain),
        }
    }
}

fn read_certificate(der: &[u8]) -> Result<ReadKey, KeyReadError> {
    // Anything but one SEQUENCE is told apart before the full parser runs.
    only(tag::SEQUENCE, der).ok_or(KeyReadError::NotAKey)?;
    let Ok(([], certificate)) = X509Certificate::from_der(der) else { return Err(KeyReadError::NotAKey) };
    let key = VerificationKey::from_spki(certificate.public_key().raw)?;
    let id_in_certificate = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => id.0.last_chunk::<4>().copied().map(u32::from_be_bytes),
        _ => None,
    });
    Ok(ReadKey { key, id_in_certificate })
}

/// PKCS#8, PKCS#1 or SEC 1 private keys; only their public half is kept.
fn read_private(der: &[u8]) -> Result<VerificationKey, KeyReadError> {
    let content = only(tag::SEQUENCE, der).ok_or(KeyReadError::NotAKey)?;
    let (_, rest) = unsigned(content).ok_or(KeyReadError::NotAKey)?;
    if let Some((modulus, rest)) = unsigned(rest) {
        let (exponent, private) = unsigned(rest).ok_or(KeyReadError::NotAKey)?;
        unsigned(private).ok_or(KeyReadError::NotAKey)?;
        return rsa_public(modulus, exponent);
    }
    if let Some((_, rest)) = element(tag::SEQUENCE, rest) {
        let (inner, _) = element(tag::OCTET_STRING, rest).ok_or(KeyReadError::NotAKey)?;
        if only(tag::SEQUENCE, inner)
            .is_some_and(|content| unsigned(content).and_then(|(_, rest)| unsigned(rest)).is_some())
        {
            return read_private(inner);
        }
    }
    ec_public(der)
}

fn rsa_public(modulus: &[u8], exponent: &[u8]) -> Result<VerificationKey, KeyReadError> {
    use rsa::pkcs1::EncodeRsaPublicKey as _;
    let (n, e) = (rsa::BigUint::from_bytes_be(modulus), rsa::BigUint::from_bytes_be(exponent));
    let key = rsa::RsaPublicKey::new_with_max_size(n, e, 16_384).map_err(|_| KeyReadError::NotAKey)?;
    let der = key.to_pkcs1_der().map_err(|_| KeyReadError::NotAKey)?;
    Ok(VerificationKey::from_pkcs1(der.as_bytes())?)
}

fn ec_public(der: &[u8]) -> Result<VerificationKey, KeyReadError> {
    let curves: [(Curve, &'static EcdsaSigningAlgorithm); 4] = [
        (Curve::P256, &signature::ECDSA_P256_SHA256_ASN1_SIGNING),
        (Curve::P384, &signature::ECDSA_P384_SHA384_ASN1_SIGNING),
        (Curve::P521, &signature::ECDSA_P521_SHA512_ASN1_SIGNING),
        (Curve::Secp256k1, &signature::ECDSA_P256K1_SHA256_ASN1_SIGNING),
    ];
    for (curve, algorithm) in curves {
        if let Ok(pair) = EcdsaKeyPair::from_private_key_der(algorithm, der) {
            return Ok(VerificationKey::from_point(curve, pair.public_key().as_ref())?);
        }
    }
    Err(KeyReadError::NotAKey)
}

fn pem_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.contains("-----BEGIN ").then_some(text)
}

/// The bytes of the first block with one of these labels (RFC 7468).
fn pem_block(text: &str, labels: &[&str]) -> Option<Vec<u8>> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (label, body) = after.split_once("-----")?;
        let (body, after) = body.split_once("-----END ")?;
        if labels.contains(&label) {
            let (end, _) = after.split_once("-----")?;
            let packed: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            return (end == label).then(|| base64::engine::general_purpose::STANDARD.decode(packed).ok()).flatten();
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_are_no_key() {
        for bytes in [
            &b""[..],
            b"\x30",
            b"\x30\x00",
            b"-----BEGIN PUBLIC KEY-----",
            b"some text",
            &[0x30, 0x84, 255, 255, 255, 255],
        ] {
            assert_eq!(read_key(bytes), Err(KeyReadError::NotAKey), "{bytes:?}");
        }
    }

    #[test]
    fn pem_blocks_are_found_by_label() {
        let text = "x\n-----BEGIN A-----\nAAEC\n-----END A-----\n-----BEGIN B-----\nAw\n ==\n-----END B-----\n";
        assert_eq!(pem_block(text, &["A"]), Some(vec![0, 1, 2]));
        assert_eq!(pem_block(text, &["B"]), Some(vec![3]));
        assert_eq!(pem_block(text, &["C"]), None);
    }
}
