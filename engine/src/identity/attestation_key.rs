//! The attestation key of an agent: a key that signs only what its TPM made.
//!
//! A quote proves something only if the key that signed it is restricted (it signs no host-made look-alike) and bound to
//! its TPM. The reference never looks at these attributes (CVE-2021-3406 was one consequence); here no other key can become
//! an [`AttestationKey`].

use crate::tpm::name::TpmName;
use crate::tpm::object_attributes::ObjectAttributes;
use crate::tpm::public_area::{InvalidPublicArea, PublicArea, SigningDefinition};
use crate::tpm::public_key::PublicKey;
use crate::tpm::verifying_key::VerifyingKey;

/// The attributes an attestation key must have.
pub const REQUIRED_ATTRIBUTES: ObjectAttributes = ObjectAttributes::FIXED_TPM
    .union(ObjectAttributes::FIXED_PARENT)
    .union(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
    .union(ObjectAttributes::RESTRICTED)
    .union(ObjectAttributes::SIGN);

/// An attestation key, read and prepared once, used for every quote.
#[derive(Debug, Clone)]
pub struct AttestationKey {
    name: TpmName,
    verifying_key: VerifyingKey,
}

/// Why a public area is not an attestation key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAttestationKey {
    /// Not a public area at all.
    #[error(transparent)]
    PublicArea(#[from] InvalidPublicArea),
    /// The key could sign something its TPM did not make, or live outside the TPM.
    #[error("attestation key lacks the attributes {0}")]
    MissingAttributes(ObjectAttributes),
    /// The key also decrypts, which no restricted signing key can.
    #[error("attestation key must not be a decryption key")]
    Decrypts,
    /// The Name uses a hash other than SHA-1, SHA-256, SHA-384 and SHA-512.
    #[error("attestation key uses the unsupported name algorithm {0:#06x}")]
    NameAlgorithm(u16),
}

impl AttestationKey {
    /// Reads the base64 of a TPM2B_PUBLIC (`aik_tpm`, `iak_tpm`).
    ///
    /// # Errors
    /// See [`InvalidAttestationKey`].
    pub fn from_base64(text: &str) -> Result<Self, InvalidAttestationKey> {
        Self::from_public_area(&PublicArea::from_base64(text)?)
    }

    /// Reads a TPM2B_PUBLIC.
    ///
    /// # Errors
    /// See [`InvalidAttestationKey`].
    pub fn from_tpm2b(data: &[u8]) -> Result<Self, InvalidAttestationKey> {
        Self::from_public_area(&PublicArea::from_tpm2b(data)?)
    }

    /// Takes a public area as an attestation key.
    ///
    /// # Errors
    /// See [`InvalidAttestationKey`].
    pub fn from_public_area(area: &PublicArea) -> Result<Self, InvalidAttestationKey> {
        let missing = area.attributes().missing(REQUIRED_ATTRIBUTES);
        if !missing.is_empty() {
            return Err(InvalidAttestationKey::MissingAttributes(missing));
        }
        if area.attributes().contains(ObjectAttributes::DECRYPT) {
            return Err(InvalidAttestationKey::Decrypts);
        }
        let name = *area.name().ok_or(InvalidAttestationKey::NameAlgorithm(area.name_algorithm_id()))?;
        let usual = area.signing().and_then(SigningDefinition::known);
        Ok(Self { name, verifying_key: VerifyingKey::new(area.key().clone(), usual) })
    }

    /// The same key in the small form a verifier keeps for every idle agent; see [`VerifyingKey::lean`].
    #[must_use]
    pub fn lean(self) -> Self {
        Self { verifying_key: self.verifying_key.lean(), ..self }
    }

    /// The Name, which credential activation and certification bind to.
    #[must_use]
    pub const fn name(&self) -> &TpmName {
        &self.name
    }

    /// The public key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        self.verifying_key.public()
    }

    /// The key in the form that verifies signatures.
    #[must_use]
    pub const fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying_key
    }
}
