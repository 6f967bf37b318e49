//! The endorsement key: the key whose certificate vouches for the TPM, and to which credentials are encrypted.
//!
//! One parsed key is used for everything (CVE-2021-3406): the certificate comparison, the credential and the stored text all
//! come from the same public area.

use crate::algorithm::HashAlgorithm;
use crate::tpm::object_attributes::ObjectAttributes;
use crate::tpm::public_area::{InvalidPublicArea, PublicArea};
use crate::tpm::public_key::{InvalidPublicKey, PublicKey};
use aws_lc_rs::cipher::{AES_128, AES_192, AES_256, Algorithm};

/// The attributes an endorsement key must have: a storage key that its TPM made and keeps
/// (TCG EK Credential Profile, B.3 and B.4).
pub const REQUIRED_ATTRIBUTES: ObjectAttributes = ObjectAttributes::FIXED_TPM
    .union(ObjectAttributes::FIXED_PARENT)
    .union(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
    .union(ObjectAttributes::RESTRICTED)
    .union(ObjectAttributes::DECRYPT);

const ALG_AES: u16 = 0x0006;
const ALG_CFB: u16 = 0x0043;

/// An endorsement key that credentials can be made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndorsementKey {
    public: PublicKey,
    name_algorithm: HashAlgorithm,
    symmetric_key_bits: u16,
}

/// Why a public area is not an endorsement key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndorsementKey {
    /// Not a public area at all.
    #[error(transparent)]
    PublicArea(#[from] InvalidPublicArea),
    /// Not a storage key bound to its TPM.
    #[error("endorsement key lacks the attributes {0}")]
    MissingAttributes(ObjectAttributes),
    /// The key also signs, which no storage key can.
    #[error("endorsement key must not be a signing key")]
    Signs,
    /// The Name uses a hash other than SHA-1, SHA-256, SHA-384 and SHA-512.
    #[error("endorsement key uses the unsupported name algorithm {0:#06x}")]
    NameAlgorithm(u16),
    /// The key protects its children with something other than AES in CFB mode.
    #[error("endorsement key does not use AES in CFB mode")]
    Symmetric,
}

impl EndorsementKey {
    /// Reads the base64 of a TPM2B_PUBLIC (`ek_tpm`).
    ///
    /// # Errors
    /// See [`InvalidEndorsementKey`].
    pub fn from_base64(text: &str) -> Result<Self, InvalidEndorsementKey> {
        Self::from_public_area(&PublicArea::from_base64(text)?)
    }

    /// Takes a public area as an endorsement key.
    ///
    /// # Errors
    /// See [`InvalidEndorsementKey`].
    pub fn from_public_area(area: &PublicArea) -> Result<Self, InvalidEndorsementKey> {
        let missing = area.attributes().missing(REQUIRED_ATTRIBUTES);
        if !missing.is_empty() {
            return Err(InvalidEndorsementKey::MissingAttributes(missing));
        }
        if area.attributes().contains(ObjectAttributes::SIGN) {
            return Err(InvalidEndorsementKey::Signs);
        }
        let name_algorithm =
            area.name_algorithm().ok_or(InvalidEndorsementKey::NameAlgorithm(area.name_algorithm_id()))?;
        let symmetric_key_bits = area
            .symmetric()
            .filter(|s| s.algorithm_id == ALG_AES && s.mode_id == ALG_CFB && matches!(s.key_bits, 128 | 192 | 256))
            .ok_or(InvalidEndorsementKey::Symmetric)?
            .key_bits;
        Ok(Self { public: area.key().clone(), name_algorithm, symmetric_key_bits })
    }

    /// The public key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The hash of the key's Name, which also drives the credential's derivations.
    #[must_use]
    pub const fn name_algorithm(&self) -> HashAlgorithm {
        self.name_algorithm
    }

    /// Keylime's `hash_ek` agent id: SHA-256 of the SubjectPublicKeyInfo PEM, in hexadecimal.
    ///
    /// # Errors
    /// [`InvalidPublicKey`] when the key cannot be written as SubjectPublicKeyInfo.
    pub fn hash_ek(&self) -> Result<String, InvalidPublicKey> {
        Ok(HashAlgorithm::Sha256.digest(&[self.public.to_spki_pem()?.as_bytes()]).to_hex())
    }

    /// Key size of the symmetric cipher in bits: 128, 192 or 256.
    pub(super) const fn symmetric_key_bits(&self) -> u16 {
        self.symmetric_key_bits
    }

    /// The symmetric cipher.
    pub(super) const fn cipher(&self) -> &'static Algorithm {
        match self.symmetric_key_bits {
            128 => &AES_128,
            192 => &AES_192,
            _ => &AES_256,
        }
    }
}
