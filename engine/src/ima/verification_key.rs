//! Public keys that verify file signatures, and their key ids.

use super::der_reader::{element, only, tag, unsigned};
use crate::algorithm::HashAlgorithm;
use crate::ima::file_signature::SignatureHash;
use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

/// An elliptic curve by how signatures on it can be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// secp256k1.
    Secp256k1,
    /// A curve Keylime's library loads but this project cannot verify on: the key is read, its signatures never verify.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    /// PKCS#1 `RSAPublicKey`.
    Rsa(Box<[u8]>),
    /// X9.62 point.
    Ec(Curve, Box<[u8]>),
}

/// An RSA or elliptic-curve public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationKey {
    spki: Box<[u8]>,
    material: Material,
}

/// What bytes that are no usable public key are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpkiError {
    /// Not a well-formed `SubjectPublicKeyInfo`.
    #[error("not a public key")]
    Malformed,
    /// A key of another type than RSA and EC.
    #[error("unsupported key type {0}")]
    UnsupportedType(&'static str),
}

mod oid {
    pub const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
    pub const RSA_PSS: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A];
    pub const EC: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
    pub const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
    pub const P384: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x22];
    pub const P521: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x23];
    pub const SECP256K1: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x0A];
    pub const OTHER_TYPES: [(&[u8], &str); 8] = [
        (&[0x2B, 0x65, 0x70], "Ed25519"),
        (&[0x2B, 0x65, 0x71], "Ed448"),
        (&[0x2B, 0x65, 0x6E], "X25519"),
        (&[0x2B, 0x65, 0x6F], "X448"),
        (&[0x2A, 0x86, 0x48, 0xCE, 0x38, 0x04, 0x01], "DSA"),
        (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x03, 0x01], "DH"),
        (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x12], "ML-DSA-65"),
        (&[0x2A, 0x86, 0x48, 0xCE, 0x3E, 0x02, 0x01], "DHX"),
    ];
}

impl VerificationKey {
    /// Reads a DER `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7) that fills the bytes.
    ///
    /// # Errors
    /// See [`SpkiError`].
    pub fn from_spki(der: &[u8]) -> Result<Self, SpkiError> {
        let content = only(tag::SEQUENCE, der).ok_or(SpkiError::Malformed)?;
        let (algorithm, rest) = element(tag::SEQUENCE, content).ok_or(SpkiError::Malformed)?;
        let bits = only(tag::BIT_STRING, rest).ok_or(SpkiError::Malformed)?;
        let (oid, parameters) = element(tag::OID, algorithm).ok_or(SpkiError::Malformed)?;
        if let Some((_, name)) = oid::OTHER_TYPES.iter().find(|(other, _)| *other == oid) {
            return Err(SpkiError::UnsupportedType(name));
        }
        let Some((0, key)) = bits.split_first().map(|(unused, key)| (*unused, key)) else {
            return Err(SpkiError::Malformed);
        };
        let material = match oid {
            oid::RSA | oid::RSA_PSS => rsa_material(key)?,
            oid::EC => {
                let curve = only(tag::OID, parameters).ok_or(SpkiError::Malformed)?;
                ec_material(curve_of(curve), key)?
            }
            _ => return Err(SpkiError::Malformed),
        };
        Ok(Self { spki: der.into(), material })
    }

    /// Takes a DER PKCS#1 `RSAPublicKey` (RFC 8017 §A.1.1) that fills the bytes.
    ///
    /// # Errors
    /// See [`SpkiError`].
    pub fn from_pkcs1(der: &[u8]) -> Result<Self, SpkiError> {
        let material = rsa_material(der)?;
        let algorithm = [&[tag::OID, 9][..], oid::RSA, &[5, 0]].concat();
        Ok(Self { spki: spki_of(&algorithm, der), material })
    }

    /// Takes an uncompressed point on a curve that can be verified on.
    ///
    /// # Errors
    /// See [`SpkiError`].
    pub fn from_point(curve: Curve, point: &[u8]) -> Result<Self, SpkiError> {
        let curve_oid = match curve {
            Curve::P256 => oid::P256,
            Curve::P384 => oid::P384,
            Curve::P521 => oid::P521,
            Curve::Secp256k1 => oid::SECP256K1,
            Curve::Other => return Err(SpkiError::Malformed),
        };
        let material = ec_material(curve, point)?;
        let algorithm = [&der_element(tag::OID, oid::EC)[..], &der_element(tag::OID, curve_oid)].concat();
        Ok(Self { spki: spki_of(&algorithm, point), material })
    }

    /// The key as DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether it is an elliptic-curve key.
    #[must_use]
    pub fn is_elliptic(&self) -> bool {
        matches!(self.material, Material::Ec(..))
    }

    /// The key id of version 2 signatures: the last four bytes of the SHA-1 of the PKCS#1 key or the point (`ima.md` §8.2).
    #[must_use]
    pub fn key_id(&self) -> u32 {
        let bytes = match &self.material {
            Material::Rsa(bytes) | Material::Ec(_, bytes) => bytes,
        };
        let digest = HashAlgorithm::Sha1.digest(&[bytes]);
        let tail = digest.as_bytes().last_chunk::<4>().copied().unwrap_or_default();
        u32::from_be_bytes(tail)
    }

    /// Whether `signature` is this key's signature over a digest of `hash`: PKCS#1 v1.5 for RSA, DER ECDSA for curves.
    #[must_use]
    pub fn verifies(&self, hash: SignatureHash, digest: &[u8], signature: &[u8]) -> bool {
        if digest.len() != hash.digest_len() {
            return false;
        }
        match &self.material {
            Material::Rsa(pkcs1) => rsa_verifies(pkcs1, hash, digest, signature),
            Material::Ec(curve, point) => ec_verifies(*curve, point, digest, signature),
        }
    }
}

fn curve_of(oid: &[u8]) -> Curve {
    match oid {
        oid::P256 => Curve::P256,
        oid::P384 => Curve::P384,
        oid::P521 => Curve::P521,
        oid::SECP256K1 => Curve::Secp256k1,
        _ => Curve::Other,
    }
}

fn rsa_material(pkcs1: &[u8]) -> Result<Material, SpkiError> {
    let content = only(tag::SEQUENCE, pkcs1).ok_or(SpkiError::Malformed)?;
    let (modulus, rest) = unsigned(content).ok_or(SpkiError::Malformed)?;
    let (exponent, rest) = unsigned(rest).ok_or(SpkiError::Malformed)?;
    let odd = |number: &[u8]| number.last().is_some_and(|b| b & 1 == 1);
    if !rest.is_empty() || modulus.len() > MAX_MODULUS_BYTES || !odd(modulus) || !odd(exponent) || exponent == [1] {
        return Err(SpkiError::Malformed);
    }
    Ok(Material::Rsa(pkcs1.into()))
}

/// OpenSSL verifies with at most 16384 bits.
const MAX_MODULUS_BYTES: usize = 2048;

fn ec_material(curve: Curve, point: &[u8]) -> Result<Material, SpkiError> {
    let (length, algorithm): (usize, &'static dyn VerificationAlgorithm) = match curve {
        Curve::P256 => (65, &signature::ECDSA_P256_SHA256_ASN1),
        Curve::P384 => (97, &signature::ECDSA_P384_SHA384_ASN1),
        Curve::P521 => (133, &signature::ECDSA_P521_SHA512_ASN1),
        Curve::Secp256k1 => (65, &signature::ECDSA_P256K1_SHA256_ASN1),
        Curve::Other => {
            return if point.len() <= 1 + 2 * 128 && point.first() == Some(&4) {
                Ok(Material::Ec(curve, point.into()))
            } else {
                Err(SpkiError::Malformed)
            };
        }
    };
    if point.len() != length || signature::ParsedPublicKey::new(algorithm, point).is_err() {
        return Err(SpkiError::Malformed);
    }
    Ok(Material::Ec(curve, point.into()))
}

fn spki_of(algorithm: &[u8], key: &[u8]) -> Box<[u8]> {
    let mut content = der_element(tag::SEQUENCE, algorithm);
    content.extend(der_element(tag::BIT_STRING, &[&[0], key].concat()));
    der_element(tag::SEQUENCE, &content).into()
}

fn der_element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if let (0..=0x7F, Ok(short)) = (length, u8::try_from(length)) {
        out.push(short);
    } else {
        let bytes = length.to_be_bytes();
        let first = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len() - 1);
        out.push(0x80 | u8::try_from(bytes.len() - first).unwrap_or_default());
        out.extend_from_slice(&bytes[first..]);
    }
    out.extend_from_slice(content);
    out
}

fn rsa_verifies(pkcs1: &[u8], hash: SignatureHash, digest: &[u8], signature: &[u8]) -> bool {
    let (algorithm, digest_algorithm): (&'static dyn VerificationAlgorithm, _) = match hash {
        SignatureHash::Sha1 => {
            (&signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, &digest::SHA1_FOR_LEGACY_USE_ONLY)
        }
        SignatureHash::Sha256 => (&signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, &digest::SHA256),
        SignatureHash::Sha384 => (&signature::RSA_PKCS1_2048_8192_SHA384, &digest::SHA384),
        SignatureHash::Sha512 => (&signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, &digest::SHA512),
        SignatureHash::Md5 | SignatureHash::Sha224 => return rsa_verifies_portably(pkcs1, hash, digest, signature),
        SignatureHash::Streebog256 | SignatureHash::Streebog512 => return false,
    };
    let Ok(digest) = digest::Digest::import_less_safe(digest, digest_algorithm) else { return false };
    UnparsedPublicKey::new(algorithm, pkcs1).verify_digest(&digest, signature).is_ok()
}

/// The hashes that the main provider does not pair with RSA, on RustCrypto's `rsa` (verification only).
pub(crate) fn rsa_verifies_portably(pkcs1: &[u8], hash: SignatureHash, digest: &[u8], signature: &[u8]) -> bool {
    let Some(content) = only(tag::SEQUENCE, pkcs1) else { return false };
    let Some((modulus, rest)) = unsigned(content) else { return false };
    let Some((exponent, _)) = unsigned(rest) else { return false };
    let Some(prefix) = hash.digest_info_prefix() else { return false };
    let (n, e) = (rsa::BigUint::from_bytes_be(modulus), rsa::BigUint::from_bytes_be(exponent));
    let Ok(key) = rsa::RsaPublicKey::new_with_max_size(n, e, MAX_PORTABLE_BITS) else { return false };
    let scheme = rsa::Pkcs1v15Sign { hash_len: Some(digest.len()), prefix: prefix.into() };
    key.verify(scheme, digest, signature).is_ok()
}

const MAX_PORTABLE_BITS: usize = 8192;

/// Verifies over a digest of any length: ECDSA takes the leftmost bits of a long digest and the number a short one stands
/// for (FIPS 186-5 §6.4.2), so each is brought to the width of one hash that the provider pairs with the curve.
fn ec_verifies(curve: Curve, point: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    let (algorithm, digest_algorithm): (&'static dyn VerificationAlgorithm, &'static digest::Algorithm) = match curve {
        Curve::P256 => (&signature::ECDSA_P256_SHA256_ASN1, &digest::SHA256),
        Curve::P384 => (&signature::ECDSA_P384_SHA384_ASN1, &digest::SHA384),
        Curve::P521 => (&signature::ECDSA_P521_SHA512_ASN1, &digest::SHA512),
        Curve::Secp256k1 => (&signature::ECDSA_P256K1_SHA256_ASN1, &digest::SHA256),
        Curve::Other => return false,
    };
    let width = digest_algorithm.output_len();
    let taken = &digest[..digest.len().min(width)];
    let mut padded = [0; 64];
    padded[width - taken.len()..width].copy_from_slice(taken);
    let Ok(digest) = digest::Digest::import_less_safe(&padded[..width], digest_algorithm) else { return false };
    UnparsedPublicKey::new(algorithm, point).verify_digest(&digest, signature).is_ok()
}
