//! A public key ready to verify TPM signatures.
//!
//! The key is handed to the cryptographic library once, with the scheme its public area names; each verification after that
//! only hashes and exponentiates. Which combinations are supported is decided in two tables,
//! [`rsa_parameters`] and [`ecdsa_algorithm`].

use super::ecc_curve::EccCurve;
use super::public_key::PublicKey;
use super::signature::{InvalidSignature, SignatureHeader, SignatureScheme};
use crate::algorithm::HashAlgorithm;
use aws_lc_rs::signature as lc;
use aws_lc_rs::signature::{ParsedPublicKey, RsaParameters, VerificationAlgorithm};
use std::fmt;

/// A public key, and the library's form of it for the scheme it is used with.
#[derive(Clone)]
pub struct VerifyingKey {
    public: PublicKey,
    prepared: Option<Box<Prepared>>,
}

#[derive(Clone)]
struct Prepared {
    scheme: SignatureScheme,
    hash: HashAlgorithm,
    key: ParsedPublicKey,
}

/// Why a signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The scheme is unknown, not accepted, or belongs to another kind of key.
    #[error("Unsupported quote signature algorithm '{scheme_id:#x}' for {key_kind} keys")]
    Scheme {
        /// TPM_ALG_ID of the scheme.
        scheme_id: u16,
        /// `RSA` or `EC`.
        key_kind: &'static str,
    },
    /// The hash is unknown or not accepted in signatures.
    #[error("Unsupported hash with id {0:#x} in signature blob")]
    Hash(u16),
    /// Scheme and hash are known, but not together with this key.
    #[error("{scheme} with {hash} is not supported for this key")]
    Combination {
        /// The scheme.
        scheme: SignatureScheme,
        /// The hash.
        hash: HashAlgorithm,
    },
    /// The structure cannot be read.
    #[error(transparent)]
    Malformed(#[from] InvalidSignature),
    /// The library refuses the key.
    #[error("public key is not usable")]
    Key,
    /// The signature does not belong to this key and message.
    #[error("signature does not verify")]
    Mismatch,
}

impl VerifyingKey {
    /// Prepares a key for the scheme and hash its public area names; others can be verified too, at the price of
    /// preparing the key each time.
    #[must_use]
    pub fn new(public: PublicKey, usual: Option<(SignatureScheme, HashAlgorithm)>) -> Self {
        let prepared = usual.and_then(|(scheme, hash)| {
            let key = prepare(&public, scheme, hash).ok()?;
            Some(Box::new(Prepared { scheme, hash, key }))
        });
        Self { public, prepared }
    }

    /// The same key without the library's form: an RSA-2048 key shrinks from about 2.4 KiB to 0.3 KiB, and each verification
    /// prepares it again, for a tenth of its own time.
    #[must_use]
    pub fn lean(self) -> Self {
        Self { prepared: None, ..self }
    }

    /// The key.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// `RSA` or `EC`, as error texts call it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.public {
            PublicKey::Rsa(_) => "RSA",
            PublicKey::Ecc(_) => "EC",
        }
    }

    /// Verifies a signature over `message` and returns the hash it was made with.
    ///
    /// `accepted` lists the schemes the caller allows; the checks run in the reference's order: scheme, form, hash, value.
    ///
    /// # Errors
    /// See [`SignatureError`]; every outcome but a valid signature is one.
    pub fn verify(
        &self,
        message: &[u8],
        signature: &[u8],
        accepted: &[SignatureScheme],
    ) -> Result<HashAlgorithm, SignatureError> {
        let parsed = self.parse(signature, accepted)?;
        self.verify_parsed(message, &parsed)?;
        Ok(parsed.hash)
    }

    /// Reads a signature and judges its algorithms, without verifying it.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn parse<'s>(
        &self,
        signature: &'s [u8],
        accepted: &[SignatureScheme],
    ) -> Result<ParsedSignature<'s>, SignatureError> {
        let header = SignatureHeader::parse(signature)?;
        let scheme = SignatureScheme::from_tpm_id(header.scheme_id)
            .filter(|scheme| accepted.contains(scheme) && self.fits(*scheme))
            .ok_or(SignatureError::Scheme { scheme_id: header.scheme_id, key_kind: self.kind() })?;
        let value = match &self.public {
            PublicKey::Rsa(_) => SignatureValue::Rsa(header.rsa_value()?),
            PublicKey::Ecc(key) => SignatureValue::Ecdsa(header.ecdsa_value(key.curve())?.to_der()),
        };
        let hash = HashAlgorithm::from_tpm_id(header.hash_id)
            .filter(|hash| *hash != HashAlgorithm::Sm3_256)
            .ok_or(SignatureError::Hash(header.hash_id))?;
        Ok(ParsedSignature { scheme, hash, value })
    }

    /// Verifies a signature that [`Self::parse`] read.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`], or an unsupported combination of scheme, hash and key.
    pub fn verify_parsed(&self, message: &[u8], signature: &ParsedSignature<'_>) -> Result<(), SignatureError> {
        let value: &[u8] = match &signature.value {
            SignatureValue::Rsa(value) => value,
            SignatureValue::Ecdsa(der) => der,
        };
        let outcome = match &self.prepared {
            Some(prepared) if prepared.scheme == signature.scheme && prepared.hash == signature.hash => {
                prepared.key.verify_sig(message, value)
            }
            Some(_) | None => prepare(&self.public, signature.scheme, signature.hash)?.verify_sig(message, value),
        };
        outcome.map_err(|_| SignatureError::Mismatch)
    }

    const fn fits(&self, scheme: SignatureScheme) -> bool {
        match scheme {
            SignatureScheme::Rsassa | SignatureScheme::Rsapss => matches!(self.public, PublicKey::Rsa(_)),
            SignatureScheme::Ecdsa => matches!(self.public, PublicKey::Ecc(_)),
            SignatureScheme::Ecdaa | SignatureScheme::Sm2 | SignatureScheme::Ecschnorr => false,
        }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// A signature whose algorithms fit its key.
#[derive(Debug, Clone)]
pub struct ParsedSignature<'a> {
    scheme: SignatureScheme,
    hash: HashAlgorithm,
    value: SignatureValue<'a>,
}

impl ParsedSignature<'_> {
    /// The scheme.
    #[must_use]
    pub const fn scheme(&self) -> SignatureScheme {
        self.scheme
    }

    /// The hash.
    #[must_use]
    pub const fn hash(&self) -> HashAlgorithm {
        self.hash
    }
}

#[derive(Debug, Clone)]
enum SignatureValue<'a> {
    Rsa(&'a [u8]),
    Ecdsa(super::signature::EcdsaDer),
}

fn prepare(
    public: &PublicKey,
    scheme: SignatureScheme,
    hash: HashAlgorithm,
) -> Result<ParsedPublicKey, SignatureError> {
    let unsupported = SignatureError::Combination { scheme, hash };
    match public {
        PublicKey::Rsa(key) => {
            let parameters = rsa_parameters(scheme, hash).ok_or(unsupported)?;
            key.components().to_parsed_public_key(parameters)
        }
        PublicKey::Ecc(key) => {
            let algorithm = ecdsa_algorithm(key.curve(), scheme, hash).ok_or(unsupported)?;
            ParsedPublicKey::new(algorithm, key.point())
        }
    }
    .map_err(|_| SignatureError::Key)
}

/// The library's parameters for an RSA scheme and hash; `None` when the combination is not supported.
///
/// RSA-PSS has a salt as long as the digest, as TPMs make it (`tpm-formats.md` §7).
fn rsa_parameters(scheme: SignatureScheme, hash: HashAlgorithm) -> Option<&'static RsaParameters> {
    use HashAlgorithm::{Sha1, Sha256, Sha384, Sha512, Sm3_256};
    match (scheme, hash) {
        (SignatureScheme::Rsassa, Sha1) => Some(&lc::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY),
        (SignatureScheme::Rsassa, Sha256) => Some(&lc::RSA_PKCS1_2048_8192_SHA256),
        (SignatureScheme::Rsassa, Sha384) => Some(&lc::RSA_PKCS1_2048_8192_SHA384),
        (SignatureScheme::Rsassa, Sha512) => Some(&lc::RSA_PKCS1_2048_8192_SHA512),
        (SignatureScheme::Rsapss, Sha256) => Some(&lc::RSA_PSS_2048_8192_SHA256),
        (SignatureScheme::Rsapss, Sha384) => Some(&lc::RSA_PSS_2048_8192_SHA384),
        (SignatureScheme::Rsapss, Sha512) => Some(&lc::RSA_PSS_2048_8192_SHA512),
        (SignatureScheme::Rsapss, Sha1)
        | (SignatureScheme::Rsassa | SignatureScheme::Rsapss, Sm3_256)
        | (SignatureScheme::Ecdsa | SignatureScheme::Ecdaa | SignatureScheme::Sm2 | SignatureScheme::Ecschnorr, _) => {
            None
        }
    }
}

/// The library's algorithm for a curve, scheme and hash; `None` when the combination is not supported.
fn ecdsa_algorithm(
    curve: EccCurve,
    scheme: SignatureScheme,
    hash: HashAlgorithm,
) -> Option<&'static dyn VerificationAlgorithm> {
    use EccCurve::{P192, P224, P256, P384, P521};
    use HashAlgorithm::{Sha1, Sha256, Sha384, Sha512, Sm3_256};
    if scheme != SignatureScheme::Ecdsa {
        return None;
    }
    match (curve, hash) {
        (P256, Sha1) => Some(&lc::ECDSA_P256_SHA1_ASN1),
        (P256, Sha256) => Some(&lc::ECDSA_P256_SHA256_ASN1),
        (P256, Sha384) => Some(&lc::ECDSA_P256_SHA384_ASN1),
        (P256, Sha512) => Some(&lc::ECDSA_P256_SHA512_ASN1),
        (P384, Sha256) => Some(&lc::ECDSA_P384_SHA256_ASN1),
        (P384, Sha384) => Some(&lc::ECDSA_P384_SHA384_ASN1),
        (P384, Sha512) => Some(&lc::ECDSA_P384_SHA512_ASN1),
        (P521, Sha1) => Some(&lc::ECDSA_P521_SHA1_ASN1),
        (P521, Sha256) => Some(&lc::ECDSA_P521_SHA256_ASN1),
        (P521, Sha384) => Some(&lc::ECDSA_P521_SHA384_ASN1),
        (P521, Sha512) => Some(&lc::ECDSA_P521_SHA512_ASN1),
        (P384, Sha1) | (P192 | P224, _) | (_, Sm3_256) => None,
    }
}
