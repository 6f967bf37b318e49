//! Endorsement keys of the software TPM: the default templates of the TCG EK Credential Profile (L-1 and L-2).

use super::SoftTpmError;
use super::marshal::{ALG_AES, ALG_CFB, ALG_ECC, ALG_NULL, ALG_RSA, CURVE_P256, push_sized, push_u16, sized};
use super::seeded_key::SeededKey;
use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::identity::key_derivation::kdfe;
use keylime_engine::tpm::name::TpmName;
use keylime_engine::tpm::public_area::PublicArea;
use keylime_engine::tpm::reader::Reader;
use std::fmt;

/// fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt.
const ATTRIBUTES: u32 = 0x3_00B2;
/// PolicySecret of the endorsement hierarchy (EK Credential Profile, "PolicyA", SHA-256).
const POLICY_A: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xB3, 0xF8, 0x1A, 0x90, 0xCC, 0x8D, 0x46, 0xA5, 0xD7, 0x24, 0xFD, 0x52, 0xD7,
    0x6E, 0x06, 0x52, 0x0B, 0x64, 0xF2, 0xA1, 0xDA, 0x1B, 0x33, 0x14, 0x69, 0xAA,
];
const HASH: HashAlgorithm = HashAlgorithm::Sha256;
/// Key size of the symmetric cipher in bits.
pub(super) const SYMMETRIC_BITS: u16 = 128;

/// A storage key that credentials are encrypted to.
pub struct EndorsementPair {
    key: Key,
    name: TpmName,
    public: Vec<u8>,
    spki: Vec<u8>,
}

enum Key {
    Rsa(Box<OaepPrivateDecryptingKey>),
    P256 { key: PrivateKey, x: [u8; 32] },
}

impl EndorsementPair {
    /// A key on P-256; the same seed gives the same key.
    ///
    /// # Errors
    /// [`SoftTpmError::Key`].
    pub fn p256_from_seed(seed: &[u8; 32]) -> Result<Self, SoftTpmError> {
        let seeded = SeededKey::new(seed, "endorsement key")?;
        let key = PrivateKey::from_private_key(&ECDH_P256, &seeded.scalar).map_err(|_| SoftTpmError::Key)?;
        let (x, y) = seeded.point[1..].split_at(32);
        let x: [u8; 32] = x.try_into().map_err(|_| SoftTpmError::Key)?;
        let mut tpmt = header(ALG_ECC);
        push_u16(&mut tpmt, &[ALG_NULL, CURVE_P256, ALG_NULL]);
        push_sized(&mut tpmt, &x);
        push_sized(&mut tpmt, y);
        Self::assemble(Key::P256 { key, x }, &tpmt)
    }

    /// A fresh RSA-2048 key.
    ///
    /// # Errors
    /// [`SoftTpmError::Key`].
    pub fn generate_rsa2048() -> Result<Self, SoftTpmError> {
        Self::from_rsa(PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| SoftTpmError::Key)?)
    }

    /// An RSA-2048 key from PKCS#8.
    ///
    /// # Errors
    /// [`SoftTpmError::Key`].
    pub fn rsa2048_from_pkcs8(pkcs8: &[u8]) -> Result<Self, SoftTpmError> {
        Self::from_rsa(PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| SoftTpmError::Key)?)
    }

    fn from_rsa(key: PrivateDecryptingKey) -> Result<Self, SoftTpmError> {
        let spki = key.public_key().as_der().map_err(|_| SoftTpmError::Key)?;
        let spki: &[u8] = spki.as_ref();
        // The last 261 bytes of a 2048-bit key's SubjectPublicKeyInfo are its modulus and INTEGER 65537.
        let modulus = spki.len().checked_sub(261).and_then(|at| spki.get(at..at + 256)).ok_or(SoftTpmError::Key)?;
        let mut tpmt = header(ALG_RSA);
        push_u16(&mut tpmt, &[ALG_NULL, 2048]);
        tpmt.extend_from_slice(&0_u32.to_be_bytes());
        push_sized(&mut tpmt, modulus);
        let spki = spki.to_vec();
        let key = OaepPrivateDecryptingKey::new(key).map_err(|_| SoftTpmError::Key)?;
        let pair = Self::assemble(Key::Rsa(Box::new(key)), &tpmt)?;
        // Proves that the modulus was found where it was looked for.
        if pair.spki == spki { Ok(pair) } else { Err(SoftTpmError::Key) }
    }

    fn assemble(key: Key, tpmt: &[u8]) -> Result<Self, SoftTpmError> {
        let area = PublicArea::from_tpmt(tpmt).map_err(|_| SoftTpmError::Key)?;
        let spki = area.key().to_spki_der().map_err(|_| SoftTpmError::Key)?;
        Ok(Self { key, name: TpmName::of_public_area(HASH, tpmt), public: sized(tpmt), spki })
    }

    /// TPM2B_PUBLIC, as `ek_tpm` holds it in base64.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The Name.
    #[must_use]
    pub const fn name(&self) -> &TpmName {
        &self.name
    }

    /// The SubjectPublicKeyInfo, which an EK certificate must hold.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    pub(super) const fn hash() -> HashAlgorithm {
        HASH
    }

    /// Recovers the seed of a credential from its encrypted form.
    pub(super) fn recover_seed(&self, secret: &[u8]) -> Result<Digest, SoftTpmError> {
        match &self.key {
            Key::Rsa(key) => {
                let mut seed = vec![0; key.min_output_size()];
                let seed = key
                    .decrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut seed, Some(b"IDENTITY\0"))
                    .map_err(|_| SoftTpmError::Credential)?;
                Ok(Digest::from_slice(seed))
            }
            Key::P256 { key, x } => recover_seed_ecc(key, x, secret),
        }
    }
}

fn recover_seed_ecc(key: &PrivateKey, own_x: &[u8; 32], secret: &[u8]) -> Result<Digest, SoftTpmError> {
    let mut reader = Reader::new(secret);
    let x = reader.sized().map_err(|_| SoftTpmError::Credential)?;
    let y = reader.sized().map_err(|_| SoftTpmError::Credential)?;
    let point = [&[4], x, y].concat();
    let peer = agreement::UnparsedPublicKey::new(&ECDH_P256, point);
    agreement::agree(key, peer, SoftTpmError::Credential, |z| {
        kdfe(HASH, z, "IDENTITY", x, own_x, 256).ok_or(SoftTpmError::Credential)
    })
}

impl fmt::Debug for EndorsementPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndorsementPair({})", self.name)
    }
}

/// Type, name algorithm, attributes, policy, symmetric cipher.
fn header(key_type: u16) -> Vec<u8> {
    let mut tpmt = Vec::with_capacity(320);
    push_u16(&mut tpmt, &[key_type, HASH.tpm_id()]);
    tpmt.extend_from_slice(&ATTRIBUTES.to_be_bytes());
    push_sized(&mut tpmt, &POLICY_A);
    push_u16(&mut tpmt, &[ALG_AES, SYMMETRIC_BITS, ALG_CFB]);
    tpmt
}
