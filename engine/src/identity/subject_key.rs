//! Public keys of certificates: one comparable form for all spellings, and the signatures that certificates carry.
//!
//! A TPM's key and its certificate must hold the same key (CVE-2021-3406). Manufacturers write it in several ways (RSA
//! under an OAEP identifier, compressed points), so both sides are brought to numbers and compared as such.

use super::der::{self, DerError, Reader};
use crate::algorithm::HashAlgorithm;
use crate::tpm::ecc_curve::EccCurve;
use crate::tpm::public_key::PublicKey;
use aws_lc_rs::signature::{self, RsaPublicKeyComponents};

/// A public key as numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectKey {
    /// RSA; both numbers big-endian without leading zeros.
    Rsa {
        /// n
        modulus: Vec<u8>,
        /// e
        exponent: Vec<u8>,
    },
    /// An elliptic curve key; the point in uncompressed form (SEC 1 §2.3.3).
    Ec {
        /// The curve.
        curve: EccCurve,
        /// `04 || x || y`
        point: Vec<u8>,
    },
}

/// Why a SubjectPublicKeyInfo holds no usable key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectKeyError {
    /// The structure is broken.
    #[error("key structure: {0}")]
    Structure(#[from] DerError),
    /// A type or curve that TPM certificates do not use.
    #[error("key type or curve is not supported")]
    Unsupported,
    /// The point is not on its curve or has the wrong length.
    #[error("point is not on the curve")]
    Point,
}

/// How a certificate is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1(HashAlgorithm),
    /// ECDSA, DER-encoded.
    Ecdsa(HashAlgorithm),
}

/// Why a certificate's signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The algorithm, or its combination with the key, is not supported; RSASSA-PSS is among them as in the reference.
    #[error("signature algorithm is not supported for this key")]
    Unsupported,
    /// The signature is wrong.
    #[error("signature does not verify")]
    Wrong,
    /// The algorithm identifier is broken.
    #[error("signature algorithm: {0}")]
    Structure(#[from] DerError),
}

impl SubjectKey {
    /// Reads a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    ///
    /// # Errors
    /// See [`SubjectKeyError`].
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, SubjectKeyError> {
        let mut fields = Reader::new(Reader::new(spki).expect(der::SEQUENCE)?.content);
        let mut algorithm = Reader::new(fields.expect(der::SEQUENCE)?.content);
        let bits = fields.expect(der::BIT_STRING)?.content;
        let [0, key @ ..] = bits else { return Err(DerError::Length.into()) };
        match algorithm.expect(der::OID)?.content {
            OID_RSA | OID_RSAES_OAEP | OID_RSASSA_PSS => rsa_key(key),
            OID_EC => {
                let curve = curve_of(algorithm.expect(der::OID)?.content)?;
                Ok(Self::Ec { curve, point: uncompressed(curve, key)? })
            }
            _ => Err(SubjectKeyError::Unsupported),
        }
    }

    /// Checks a signature over `message`.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        match (self, algorithm) {
            (Self::Rsa { modulus, exponent }, SignatureAlgorithm::RsaPkcs1(hash)) => {
                let parameters = rsa_parameters(hash).ok_or(SignatureError::Unsupported)?;
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, signature).map_err(|_| SignatureError::Wrong)
            }
            (Self::Ec { curve, point }, SignatureAlgorithm::Ecdsa(hash)) => {
                verify_ecdsa(*curve, point, hash.digest(&[message]).as_bytes(), signature)
            }
            (Self::Rsa { .. }, SignatureAlgorithm::Ecdsa(_)) | (Self::Ec { .. }, SignatureAlgorithm::RsaPkcs1(_)) => {
                Err(SignatureError::Unsupported)
            }
        }
    }
}

impl From<&PublicKey> for SubjectKey {
    fn from(key: &PublicKey) -> Self {
        match key {
            PublicKey::Rsa(key) => Self::Rsa {
                modulus: der::unsigned(key.modulus()).to_vec(),
                exponent: der::unsigned(&key.exponent().to_be_bytes()).to_vec(),
            },
            PublicKey::Ecc(key) => Self::Ec { curve: key.curve(), point: key.point().to_vec() },
        }
    }
}

impl SignatureAlgorithm {
    /// Reads an AlgorithmIdentifier.
    ///
    /// # Errors
    /// When it is malformed, or an algorithm that is not supported.
    pub fn from_identifier_der(identifier: &[u8]) -> Result<Self, SignatureError> {
        let mut fields = Reader::new(Reader::new(identifier).expect(der::SEQUENCE)?.content);
        let oid = fields.expect(der::OID)?.content;
        if let Some(kind) = oid.strip_prefix(OID_PKCS1_PREFIX) {
            return match kind {
                [5] => Ok(Self::RsaPkcs1(HashAlgorithm::Sha1)),
                [11] => Ok(Self::RsaPkcs1(HashAlgorithm::Sha256)),
                [12] => Ok(Self::RsaPkcs1(HashAlgorithm::Sha384)),
                [13] => Ok(Self::RsaPkcs1(HashAlgorithm::Sha512)),
                _ => Err(SignatureError::Unsupported),
            };
        }
        match oid.strip_prefix(OID_ECDSA_PREFIX) {
            Some([1]) => Ok(Self::Ecdsa(HashAlgorithm::Sha1)),
            Some([3, 2]) => Ok(Self::Ecdsa(HashAlgorithm::Sha256)),
            Some([3, 3]) => Ok(Self::Ecdsa(HashAlgorithm::Sha384)),
            Some([3, 4]) => Ok(Self::Ecdsa(HashAlgorithm::Sha512)),
            _ => Err(SignatureError::Unsupported),
        }
    }
}

fn curve_of(oid: &[u8]) -> Result<EccCurve, SubjectKeyError> {
    match oid {
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 1] => Ok(EccCurve::P192),
        [0x2b, 0x81, 4, 0, 33] => Ok(EccCurve::P224),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7] => Ok(EccCurve::P256),
        [0x2b, 0x81, 4, 0, 34] => Ok(EccCurve::P384),
        [0x2b, 0x81, 4, 0, 35] => Ok(EccCurve::P521),
        _ => Err(SubjectKeyError::Unsupported),
    }
}

/// The point in uncompressed form. Compressed points of the three curves that TPMs use are expanded.
fn uncompressed(curve: EccCurve, point: &[u8]) -> Result<Vec<u8>, SubjectKeyError> {
    if point.first() == Some(&4) {
        let fits = point.len() == 1 + 2 * curve.coordinate_len();
        return if fits { Ok(point.to_vec()) } else { Err(SubjectKeyError::Point) };
    }
    macro_rules! expand {
        ($curve:ident) => {{
            use $curve::elliptic_curve::sec1::ToSec1Point as _;
            let key = $curve::PublicKey::from_sec1_bytes(point).map_err(|_| SubjectKeyError::Point)?;
            Ok(key.to_sec1_point(false).as_bytes().to_vec())
        }};
    }
    match curve {
        EccCurve::P256 => expand!(p256),
        EccCurve::P384 => expand!(p384),
        EccCurve::P521 => expand!(p521),
        EccCurve::P192 | EccCurve::P224 => Err(SubjectKeyError::Unsupported),
    }
}

fn rsa_key(key: &[u8]) -> Result<SubjectKey, SubjectKeyError> {
    let mut numbers = Reader::new(Reader::new(key).expect(der::SEQUENCE)?.content);
    let modulus = der::unsigned(numbers.expect(der::INTEGER)?.content).to_vec();
    let exponent = der::unsigned(numbers.expect(der::INTEGER)?.content).to_vec();
    Ok(SubjectKey::Rsa { modulus, exponent })
}

fn rsa_parameters(hash: HashAlgorithm) -> Option<&'static signature::RsaParameters> {
    match hash {
        // Certificates of TPMs from before 2016 are signed with SHA-1, and they cannot be replaced.
        HashAlgorithm::Sha1 => Some(&signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY),
        HashAlgorithm::Sha256 => Some(&signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY),
        HashAlgorithm::Sha384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        HashAlgorithm::Sha512 => Some(&signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY),
        HashAlgorithm::Sm3_256 => None,
    }
}

fn verify_ecdsa(curve: EccCurve, point: &[u8], digest: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    // The RustCrypto curves refuse digests much shorter than the curve; leading zeros do not change the number.
    let mut prehash = vec![0; curve.coordinate_len().saturating_sub(digest.len())];
    prehash.extend_from_slice(digest);
    macro_rules! verify {
        ($curve:ident) => {{
            use $curve::ecdsa::signature::hazmat::PrehashVerifier as _;
            let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| SignatureError::Wrong)?;
            let signature = $curve::ecdsa::Signature::from_der(signature).map_err(|_| SignatureError::Wrong)?;
            key.verify_prehash(&prehash, &signature).map_err(|_| SignatureError::Wrong)
        }};
    }
    match curve {
        EccCurve::P256 => verify!(p256),
        EccCurve::P384 => verify!(p384),
        EccCurve::P521 => verify!(p521),
        EccCurve::P192 | EccCurve::P224 => Err(SignatureError::Unsupported),
    }
}

/// 1.2.840.113549.1.1, PKCS #1.
const OID_PKCS1_PREFIX: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const OID_RSAES_OAEP: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 7];
const OID_RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
/// 1.2.840.10045.2.1, id-ecPublicKey.
const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
/// 1.2.840.10045.4, ecdsa signatures.
const OID_ECDSA_PREFIX: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4];
