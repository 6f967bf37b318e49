//! Attestation keys of the software TPM: restricted signing keys, as `tpm-formats.md` §6 describes them.

use super::SoftTpmError;
use super::marshal::{ALG_ECC, ALG_NULL, ALG_RSA, CURVE_P256, push_sized, push_u16, sized};
use super::seeded_key::SeededKey;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::tpm::name::TpmName;
use keylime_engine::tpm::signature::SignatureScheme;
use std::fmt;

/// restricted, userWithAuth, sign, fixedTPM, fixedParent, sensitiveDataOrigin.
const ATTRIBUTES: u32 = 0x5_0072;

/// A restricted signing key; serves as AK and as IAK.
pub struct AttestationPair {
    key: Key,
    hash: HashAlgorithm,
    name: TpmName,
    public: Vec<u8>,
}

enum Key {
    Rsa { pair: Box<RsaKeyPair>, scheme: SignatureScheme, encoding: &'static dyn RsaEncoding },
    P256(EcdsaKeyPair),
}

impl AttestationPair {
    /// A key on P-256 that signs with ECDSA and SHA-256; the same seed gives the same key.
    ///
    /// # Errors
    /// [`SoftTpmError::Key`].
    pub fn p256_from_seed(seed: &[u8; 32]) -> Result<Self, SoftTpmError> {
        let seeded = SeededKey::new(seed, "attestation key")?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &seeded.scalar,
            &seeded.point,
        )
        .map_err(|_| SoftTpmError::Key)?;
        let hash = HashAlgorithm::Sha256;
        let mut tpmt = header(ALG_ECC, hash);
        push_u16(&mut tpmt, &[SignatureScheme::Ecdsa.tpm_id(), hash.tpm_id(), CURVE_P256, ALG_NULL]);
        push_sized(&mut tpmt, &seeded.point[1..33]);
        push_sized(&mut tpmt, &seeded.point[33..]);
        Ok(Self::assemble(Key::P256(pair), hash, &tpmt))
    }

    /// A fresh RSA-2048 key that signs with RSASSA or RSA-PSS.
    ///
    /// # Errors
    /// [`SoftTpmError::Key`], or [`SoftTpmError::Hash`] for a hash other than SHA-256, SHA-384 and SHA-512.
    pub fn generate_rsa2048(scheme: SignatureScheme, hash: HashAlgorithm) -> Result<Self, SoftTpmError> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| SoftTpmError::Key)?;
        Self::from_rsa(pair, scheme, hash)
    }

    /// An RSA key of 2048 bits or more from PKCS#8.
    ///
    /// # Errors
    /// As [`Self::generate_rsa2048`].
    pub fn rsa_from_pkcs8(pkcs8: &[u8], scheme: SignatureScheme, hash: HashAlgorithm) -> Result<Self, SoftTpmError> {
        let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| SoftTpmError::Key)?;
        Self::from_rsa(pair, scheme, hash)
    }

    fn from_rsa(pair: RsaKeyPair, scheme: SignatureScheme, hash: HashAlgorithm) -> Result<Self, SoftTpmError> {
        let encoding = rsa_encoding(scheme, hash)?;
        let modulus = pair.public_key().modulus().big_endian_without_leading_zero().to_vec();
        let bits = u16::try_from(modulus.len() * 8).map_err(|_| SoftTpmError::Key)?;
        let mut tpmt = header(ALG_RSA, hash);
        push_u16(&mut tpmt, &[scheme.tpm_id(), hash.tpm_id(), bits]);
        tpmt.extend_from_slice(&0_u32.to_be_bytes());
        push_sized(&mut tpmt, &modulus);
        Ok(Self::assemble(Key::Rsa { pair: Box::new(pair), scheme, encoding }, hash, &tpmt))
    }

    fn assemble(key: Key, hash: HashAlgorithm, tpmt: &[u8]) -> Self {
        Self { key, hash, name: TpmName::of_public_area(hash, tpmt), public: sized(tpmt) }
    }

    /// TPM2B_PUBLIC, as `aik_tpm` and `iak_tpm` hold it in base64.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The Name.
    #[must_use]
    pub const fn name(&self) -> &TpmName {
        &self.name
    }

    /// The hash it signs with.
    #[must_use]
    pub const fn hash(&self) -> HashAlgorithm {
        self.hash
    }

    /// The scheme it signs with.
    #[must_use]
    pub const fn scheme(&self) -> SignatureScheme {
        match &self.key {
            Key::Rsa { scheme, .. } => *scheme,
            Key::P256(_) => SignatureScheme::Ecdsa,
        }
    }

    /// Signs a structure the TPM made; gives a TPMT_SIGNATURE.
    pub(super) fn sign(&self, attest: &[u8]) -> Result<Vec<u8>, SoftTpmError> {
        let rng = SystemRandom::new();
        let mut out = Vec::with_capacity(300);
        push_u16(&mut out, &[self.scheme().tpm_id(), self.hash.tpm_id()]);
        match &self.key {
            Key::Rsa { pair, encoding, .. } => {
                let mut value = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &rng, attest, &mut value).map_err(|_| SoftTpmError::Key)?;
                push_sized(&mut out, &value);
            }
            Key::P256(pair) => {
                let value = pair.sign(&rng, attest).map_err(|_| SoftTpmError::Key)?;
                let (r, s) = value.as_ref().split_at_checked(32).ok_or(SoftTpmError::Key)?;
                push_sized(&mut out, r);
                push_sized(&mut out, s);
            }
        }
        Ok(out)
    }
}

impl fmt::Debug for AttestationPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttestationPair({})", self.name)
    }
}

/// Type, name algorithm, attributes, empty policy, no symmetric cipher.
fn header(key_type: u16, name_algorithm: HashAlgorithm) -> Vec<u8> {
    let mut tpmt = Vec::with_capacity(320);
    push_u16(&mut tpmt, &[key_type, name_algorithm.tpm_id()]);
    tpmt.extend_from_slice(&ATTRIBUTES.to_be_bytes());
    push_u16(&mut tpmt, &[0, ALG_NULL]);
    tpmt
}

fn rsa_encoding(scheme: SignatureScheme, hash: HashAlgorithm) -> Result<&'static dyn RsaEncoding, SoftTpmError> {
    match (scheme, hash) {
        (SignatureScheme::Rsassa, HashAlgorithm::Sha256) => Ok(&RSA_PKCS1_SHA256),
        (SignatureScheme::Rsassa, HashAlgorithm::Sha384) => Ok(&RSA_PKCS1_SHA384),
        (SignatureScheme::Rsassa, HashAlgorithm::Sha512) => Ok(&RSA_PKCS1_SHA512),
        (SignatureScheme::Rsapss, HashAlgorithm::Sha256) => Ok(&RSA_PSS_SHA256),
        (SignatureScheme::Rsapss, HashAlgorithm::Sha384) => Ok(&RSA_PSS_SHA384),
        (SignatureScheme::Rsapss, HashAlgorithm::Sha512) => Ok(&RSA_PSS_SHA512),
        (_, hash @ (HashAlgorithm::Sha1 | HashAlgorithm::Sm3_256)) => Err(SoftTpmError::Hash(hash)),
        (
            SignatureScheme::Ecdsa | SignatureScheme::Ecdaa | SignatureScheme::Sm2 | SignatureScheme::Ecschnorr,
            HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512,
        ) => Err(SoftTpmError::Key),
    }
}
