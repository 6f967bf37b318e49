//! TPM2B_PUBLIC and TPMT_PUBLIC: the public part of a TPM key (TPM 2.0 Part 2, 12.2; `tpm-formats.md` §5).
//!
//! Only RSA and NIST-curve keys are read. The key itself is checked here (modulus length, coordinate length, point on the
//! curve); whether its attributes make it an attestation or endorsement key is decided in [`crate::identity`].

use super::ecc_curve::EccCurve;
use super::lenient_base64::{self, InvalidBase64};
use super::name::TpmName;
use super::object_attributes::ObjectAttributes;
use super::public_key::{EccPublicKey, InvalidPublicKey, PublicKey, RsaPublicKey};
use super::reader::{Reader, Truncated};
use super::signature::SignatureScheme;
use crate::algorithm::HashAlgorithm;

/// Longest TPM2B_PUBLIC that is read, in bytes; an RSA-4096 key with a SHA-512 policy needs 602.
pub const MAX_PUBLIC_AREA_BYTES: usize = 4096;

/// TPM_ALG_NULL.
const ALG_NULL: u16 = 0x0010;
const ALG_RSA: u16 = 0x0001;
const ALG_ECC: u16 = 0x0023;
const ALG_ECDAA: u16 = 0x001A;

/// A key's public area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicArea {
    name_alg_id: u16,
    name: Option<TpmName>,
    attributes: ObjectAttributes,
    symmetric: Option<SymmetricDefinition>,
    signing: Option<SigningDefinition>,
    key: PublicKey,
}

/// The symmetric algorithm of a storage key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SymmetricDefinition {
    /// TPM_ALG_ID of the cipher.
    pub algorithm_id: u16,
    /// Key size in bits.
    pub key_bits: u16,
    /// TPM_ALG_ID of the mode.
    pub mode_id: u16,
}

/// The scheme a key signs (or decrypts) with, as identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningDefinition {
    /// TPM_ALG_ID of the scheme.
    pub scheme_id: u16,
    /// TPM_ALG_ID of its hash.
    pub hash_id: u16,
}

impl SigningDefinition {
    /// Scheme and hash, when both are known.
    #[must_use]
    pub fn known(self) -> Option<(SignatureScheme, HashAlgorithm)> {
        Some((SignatureScheme::from_tpm_id(self.scheme_id)?, HashAlgorithm::from_tpm_id(self.hash_id)?))
    }
}

/// Why a text or bytes are not a public area that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPublicArea {
    /// Not base64.
    #[error(transparent)]
    Base64(#[from] InvalidBase64),
    /// Longer than [`MAX_PUBLIC_AREA_BYTES`].
    #[error("tpm2b_public has {0} bytes, more than {MAX_PUBLIC_AREA_BYTES}")]
    TooLong(usize),
    /// A fixed field is cut short.
    #[error("tpm2b_public: {0}")]
    Truncated(#[from] Truncated),
    /// Bytes after the structure its size prefix announces.
    #[error("More in tpm2b_public than tpmt_public")]
    TrailingBytes,
    /// Bytes inside the sized structure after its last field.
    #[error("tpmt_public has bytes after its last field")]
    TrailingFields,
    /// Neither RSA nor ECC.
    #[error("Invalid tpm2b_public type: {0}")]
    Type(u16),
    /// An unknown curve.
    #[error("Invalid curve id {0} requested")]
    Curve(u16),
    /// An ECC key with a key derivation scheme, which no Keylime key has.
    #[error("ECC key with key derivation scheme {0:#06x} is not supported")]
    KeyDerivation(u16),
    /// The key is not a usable public key.
    #[error(transparent)]
    Key(#[from] InvalidPublicKey),
}

impl PublicArea {
    /// Reads base64 of a TPM2B_PUBLIC, the form of `aik_tpm`, `ek_tpm`, `iak_tpm` and `idevid_tpm`.
    ///
    /// # Errors
    /// See [`InvalidPublicArea`].
    pub fn from_base64(text: &str) -> Result<Self, InvalidPublicArea> {
        if text.len() > MAX_PUBLIC_AREA_BYTES * 2 {
            return Err(InvalidPublicArea::TooLong(text.len()));
        }
        Self::from_tpm2b(&lenient_base64::decode(text.as_bytes())?)
    }

    /// Reads a TPM2B_PUBLIC with its size prefix.
    ///
    /// # Errors
    /// See [`InvalidPublicArea`].
    pub fn from_tpm2b(data: &[u8]) -> Result<Self, InvalidPublicArea> {
        if data.len() > MAX_PUBLIC_AREA_BYTES {
            return Err(InvalidPublicArea::TooLong(data.len()));
        }
        let mut reader = Reader::new(data);
        let size = usize::from(reader.u16()?);
        let body = reader.rest();
        if body.len() > size {
            return Err(InvalidPublicArea::TrailingBytes);
        }
        let area = Self::from_tpmt(body)?;
        // A structure shorter than announced that parses nevertheless is a forgery of its own size.
        Reader::new(body).take(size)?;
        Ok(area)
    }

    /// Reads a TPMT_PUBLIC (no size prefix).
    ///
    /// # Errors
    /// See [`InvalidPublicArea`].
    pub fn from_tpmt(tpmt: &[u8]) -> Result<Self, InvalidPublicArea> {
        let mut reader = Reader::new(tpmt);
        let key_type = reader.u16()?;
        let name_alg_id = reader.u16()?;
        let attributes = ObjectAttributes::from_bits(reader.u32()?);
        if key_type != ALG_RSA && key_type != ALG_ECC {
            return Err(InvalidPublicArea::Type(key_type));
        }
        let _auth_policy = reader.sized()?;
        let symmetric = read_symmetric(&mut reader)?;
        let signing = read_scheme(&mut reader)?;
        let key = if key_type == ALG_RSA { read_rsa(&mut reader)? } else { read_ecc(&mut reader)? };
        if !reader.is_empty() {
            return Err(InvalidPublicArea::TrailingFields);
        }
        let name = HashAlgorithm::from_tpm_id(name_alg_id)
            .filter(|hash| *hash != HashAlgorithm::Sm3_256)
            .map(|hash| TpmName::of_public_area(hash, tpmt));
        Ok(Self { name_alg_id, name, attributes, symmetric, signing, key })
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The attributes.
    #[must_use]
    pub const fn attributes(&self) -> ObjectAttributes {
        self.attributes
    }

    /// The Name; `None` when the name algorithm is none of SHA-1, SHA-256, SHA-384 and SHA-512.
    #[must_use]
    pub const fn name(&self) -> Option<&TpmName> {
        self.name.as_ref()
    }

    /// The name algorithm, under the same condition as [`Self::name`].
    #[must_use]
    pub fn name_algorithm(&self) -> Option<HashAlgorithm> {
        self.name.and_then(|_| HashAlgorithm::from_tpm_id(self.name_alg_id))
    }

    /// TPM_ALG_ID of the name algorithm.
    #[must_use]
    pub const fn name_algorithm_id(&self) -> u16 {
        self.name_alg_id
    }

    /// The symmetric algorithm; `None` when the key protects no children.
    #[must_use]
    pub const fn symmetric(&self) -> Option<SymmetricDefinition> {
        self.symmetric
    }

    /// The signing scheme; `None` when the key leaves it to each use.
    #[must_use]
    pub const fn signing(&self) -> Option<SigningDefinition> {
        self.signing
    }
}

fn read_symmetric(reader: &mut Reader<'_>) -> Result<Option<SymmetricDefinition>, Truncated> {
    let algorithm_id = reader.u16()?;
    if algorithm_id == ALG_NULL {
        return Ok(None);
    }
    Ok(Some(SymmetricDefinition { algorithm_id, key_bits: reader.u16()?, mode_id: reader.u16()? }))
}

fn read_scheme(reader: &mut Reader<'_>) -> Result<Option<SigningDefinition>, Truncated> {
    let scheme_id = reader.u16()?;
    if scheme_id == ALG_NULL {
        return Ok(None);
    }
    let hash_id = reader.u16()?;
    if scheme_id == ALG_ECDAA {
        let _count = reader.u16()?;
    }
    Ok(Some(SigningDefinition { scheme_id, hash_id }))
}

fn read_rsa(reader: &mut Reader<'_>) -> Result<PublicKey, InvalidPublicArea> {
    let key_bits = reader.u16()?;
    let exponent = reader.u32()?;
    let len = usize::from(reader.u16()?);
    let modulus = reader.take(len.min(reader.rest().len()))?;
    Ok(PublicKey::Rsa(RsaPublicKey::new(modulus, exponent, key_bits)?))
}

fn read_ecc(reader: &mut Reader<'_>) -> Result<PublicKey, InvalidPublicArea> {
    let curve_id = reader.u16()?;
    let curve = EccCurve::from_tpm_id(curve_id).ok_or(InvalidPublicArea::Curve(curve_id))?;
    let kdf_id = reader.u16()?;
    if kdf_id != ALG_NULL {
        return Err(InvalidPublicArea::KeyDerivation(kdf_id));
    }
    let x = reader.sized()?;
    let y = reader.sized()?;
    Ok(PublicKey::Ecc(EccPublicKey::new(curve, x, y)?))
}
