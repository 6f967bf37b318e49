//! The registrar's challenge: a secret that only the TPM holding both EK and AK can decrypt, and the proof of having done so
//! (`tpm-formats.md` §8; TPM 2.0 Part 1, clause 24, "Credential Protection").

use super::attestation_key::AttestationKey;
use super::endorsement_key::EndorsementKey;
use super::key_derivation::{hmac_algorithm, kdfa, kdfe};
use crate::algorithm::{Digest, HashAlgorithm};
use crate::ids::AgentId;
use crate::nonce::{EntropyExhausted, alphanumeric};
use crate::tpm::ecc_curve::EccCurve;
use crate::tpm::name::TpmName;
use crate::tpm::public_key::{EccPublicKey, PublicKey, RsaPublicKey};
use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey};
use aws_lc_rs::cipher::{EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512,
    OaepPublicEncryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// Characters of a challenge.
pub const CHALLENGE_CHARACTERS: usize = 32;
/// Bytes of entropy that [`CredentialChallenge::mint`] takes.
pub const CHALLENGE_ENTROPY_BYTES: usize = 96;
/// Bytes of entropy that [`CredentialChallenge::seal`] takes: several candidates for an ephemeral key of the largest curve.
pub const SEAL_ENTROPY_BYTES: usize = 66 * 4;

/// First four bytes of a credential file of tpm2-tools, which the blob imitates.
const BLOB_MAGIC: u32 = 0xBADC_C0DE;
const BLOB_VERSION: u32 = 1;
/// Label of the seed, including its terminating zero for OAEP.
const IDENTITY: &str = "IDENTITY";
const OAEP_LABEL: &[u8] = b"IDENTITY\0";

/// A challenge for one registration; used once, destroyed with it.
#[derive(Clone, PartialEq, Eq)]
pub struct CredentialChallenge {
    text: String,
}

/// Why a challenge cannot be made or sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The entropy held no usable value; ask again with fresh entropy.
    #[error(transparent)]
    Entropy(#[from] EntropyExhausted),
    /// The stored form of a challenge is damaged.
    #[error("stored challenge is not base64 of {CHALLENGE_CHARACTERS} characters")]
    Stored,
    /// The EK's algorithms have no implementation here.
    #[error("credentials for this endorsement key are not supported")]
    Unsupported,
    /// The cryptographic library refused the operation.
    #[error("credential could not be encrypted to the endorsement key")]
    Encryption,
}

/// The activation proof is wrong. Deliberately says nothing about the right one (CVE-2023-38201).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("auth tag does not match")]
pub struct WrongAuthTag;

impl CredentialChallenge {
    /// Makes a challenge from fresh entropy.
    ///
    /// # Errors
    /// [`CredentialError::Entropy`] when too few bytes map to a character, which has a probability below 2^-100.
    pub fn mint(entropy: &[u8; CHALLENGE_ENTROPY_BYTES]) -> Result<Self, CredentialError> {
        Ok(Self { text: alphanumeric(CHALLENGE_CHARACTERS, entropy)? })
    }

    /// Reads the stored form: base64 of the challenge.
    ///
    /// # Errors
    /// [`CredentialError::Stored`].
    pub fn from_stored(stored: &str) -> Result<Self, CredentialError> {
        let bytes = STANDARD.decode(stored).map_err(|_| CredentialError::Stored)?;
        let text = String::from_utf8(bytes).map_err(|_| CredentialError::Stored)?;
        if text.len() == CHALLENGE_CHARACTERS { Ok(Self { text }) } else { Err(CredentialError::Stored) }
    }

    /// The stored form: base64 of the challenge, which is also the key of the auth tag.
    #[must_use]
    pub fn to_stored(&self) -> String {
        STANDARD.encode(&self.text)
    }

    /// Encrypts the challenge so that only the TPM of `ek` can read it, and only while it holds the key named by `ak`
    /// (TPM2_MakeCredential). Returns the blob of the registration answer, before base64.
    ///
    /// The padding of RSA-OAEP takes its randomness from the cryptographic library; it takes part in no decision.
    ///
    /// # Errors
    /// See [`CredentialError`].
    pub fn seal(
        &self,
        ek: &EndorsementKey,
        ak: &AttestationKey,
        entropy: &[u8; SEAL_ENTROPY_BYTES],
    ) -> Result<Vec<u8>, CredentialError> {
        let sealed_seed = match ek.public_key() {
            PublicKey::Rsa(key) => {
                let seed = Digest::from_slice(&entropy[..ek.name_algorithm().digest_len()]);
                seal_seed_rsa(key, ek.name_algorithm(), seed)?
            }
            PublicKey::Ecc(key) => {
                let ephemeral = ephemeral_key(key.curve(), entropy)?;
                seal_seed_ecc(key, ek.name_algorithm(), &ephemeral)?
            }
        };
        seal_with_seed(self.text.as_bytes(), ek, ak.name(), &sealed_seed)
    }

    /// Checks the proof that an agent sends: lower-case hexadecimal HMAC-SHA384 over its id, keyed with the *base64 text* of
    /// the challenge. Takes the same time for every wrong proof.
    ///
    /// # Errors
    /// [`WrongAuthTag`]; the caller must destroy the challenge then, too.
    pub fn check_auth_tag(&self, agent: &AgentId, tag: &str) -> Result<(), WrongAuthTag> {
        let expected = auth_tag(self.text.as_bytes(), agent);
        constant_time::verify_slices_are_equal(expected.as_bytes(), tag.as_bytes()).map_err(|_| WrongAuthTag)
    }
}

impl fmt::Debug for CredentialChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialChallenge(secret)")
    }
}

/// The proof an agent sends after activating a credential with these bytes.
#[must_use]
pub fn auth_tag(activated: &[u8], agent: &AgentId) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA384, STANDARD.encode(activated).as_bytes());
    hex::encode(hmac::sign(&key, agent.as_str().as_bytes()))
}

/// A seed and the form in which the TPM gets it.
#[derive(Debug)]
struct SealedSeed {
    seed: Digest,
    secret: Vec<u8>,
}

fn seal_seed_rsa(key: &RsaPublicKey, hash: HashAlgorithm, seed: Digest) -> Result<SealedSeed, CredentialError> {
    let algorithm = match hash {
        HashAlgorithm::Sha1 => &OAEP_SHA1_MGF1SHA1,
        HashAlgorithm::Sha256 => &OAEP_SHA256_MGF1SHA256,
        HashAlgorithm::Sha384 => &OAEP_SHA384_MGF1SHA384,
        HashAlgorithm::Sha512 => &OAEP_SHA512_MGF1SHA512,
        HashAlgorithm::Sm3_256 => return Err(CredentialError::Unsupported),
    };
    let der = PublicKey::Rsa(key.clone()).to_spki_der().map_err(|_| CredentialError::Encryption)?;
    let key = PublicEncryptingKey::from_der(&der).map_err(|_| CredentialError::Encryption)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| CredentialError::Encryption)?;
    let mut secret = vec![0; key.ciphertext_size()];
    let len = key
        .encrypt(algorithm, seed.as_bytes(), &mut secret, Some(OAEP_LABEL))
        .map_err(|_| CredentialError::Encryption)?
        .len();
    secret.truncate(len);
    Ok(SealedSeed { seed, secret })
}

/// Takes the first candidate of the entropy that is a private key of the curve (FIPS 186-5 A.2.2, testing candidates).
fn ephemeral_key(curve: EccCurve, entropy: &[u8]) -> Result<PrivateKey, CredentialError> {
    let (algorithm, top_mask) = match curve {
        EccCurve::P192 | EccCurve::P224 => return Err(CredentialError::Unsupported),
        EccCurve::P256 => (&ECDH_P256, 0xFF),
        EccCurve::P384 => (&ECDH_P384, 0xFF),
        EccCurve::P521 => (&ECDH_P521, 0x01),
    };
    entropy
        .chunks_exact(curve.coordinate_len())
        .find_map(|chunk| {
            let mut candidate = chunk.to_vec();
            candidate[0] &= top_mask;
            PrivateKey::from_private_key(algorithm, &candidate).ok()
        })
        .ok_or(CredentialError::Entropy(EntropyExhausted))
}

fn seal_seed_ecc(
    key: &EccPublicKey,
    hash: HashAlgorithm,
    ephemeral: &PrivateKey,
) -> Result<SealedSeed, CredentialError> {
    let public = ephemeral.compute_public_key().map_err(|_| CredentialError::Encryption)?;
    let point = public.as_ref();
    let len = key.curve().coordinate_len();
    let (Some(x), Some(y)) = (point.get(1..=len), point.get(1 + len..)) else {
        return Err(CredentialError::Encryption);
    };
    let peer = agreement::UnparsedPublicKey::new(ephemeral.algorithm(), key.point());
    let bits = digest_bits(hash);
    let seed = agreement::agree(ephemeral, peer, CredentialError::Encryption, |z| {
        kdfe(hash, z, IDENTITY, x, key.x(), bits).ok_or(CredentialError::Unsupported)
    })?;
    let mut secret = Vec::with_capacity(2 * (2 + len));
    push_sized(&mut secret, x)?;
    push_sized(&mut secret, y)?;
    Ok(SealedSeed { seed, secret })
}

fn seal_with_seed(
    challenge: &[u8],
    ek: &EndorsementKey,
    ak_name: &TpmName,
    sealed: &SealedSeed,
) -> Result<Vec<u8>, CredentialError> {
    let hash = ek.name_algorithm();
    let seed = sealed.seed.as_bytes();
    let storage_key =
        kdfa(hash, seed, "STORAGE", ak_name.as_bytes(), ek.symmetric_key_bits()).ok_or(CredentialError::Unsupported)?;
    let integrity_key = kdfa(hash, seed, "INTEGRITY", &[], digest_bits(hash)).ok_or(CredentialError::Unsupported)?;

    let mut identity = Vec::with_capacity(2 + challenge.len());
    push_sized(&mut identity, challenge)?;
    encrypt_cfb(ek, storage_key.as_bytes(), &mut identity)?;
    let mac_key = hmac::Key::new(hmac_algorithm(hash).ok_or(CredentialError::Unsupported)?, integrity_key.as_bytes());
    let mut mac = hmac::Context::with_key(&mac_key);
    mac.update(&identity);
    mac.update(ak_name.as_bytes());

    let mut id_object = Vec::new();
    push_sized(&mut id_object, mac.sign().as_ref())?;
    id_object.extend_from_slice(&identity);
    let mut blob = Vec::new();
    blob.extend_from_slice(&BLOB_MAGIC.to_be_bytes());
    blob.extend_from_slice(&BLOB_VERSION.to_be_bytes());
    push_sized(&mut blob, &id_object)?;
    push_sized(&mut blob, &sealed.secret)?;
    Ok(blob)
}

/// AES-CFB128 with a zero IV, as the TPM does: every storage key is used once.
fn encrypt_cfb(ek: &EndorsementKey, key: &[u8], data: &mut [u8]) -> Result<(), CredentialError> {
    let key = UnboundCipherKey::new(ek.cipher(), key).map_err(|_| CredentialError::Encryption)?;
    let key = EncryptingKey::cfb128(key).map_err(|_| CredentialError::Encryption)?;
    let context = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    key.less_safe_encrypt(data, context).map(|_| ()).map_err(|_| CredentialError::Encryption)
}

fn digest_bits(hash: HashAlgorithm) -> u16 {
    u16::try_from(hash.digest_len() * 8).unwrap_or(u16::MAX)
}

fn push_sized(out: &mut Vec<u8>, data: &[u8]) -> Result<(), CredentialError> {
    let len = u16::try_from(data.len()).map_err(|_| CredentialError::Encryption)?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(data);
    Ok(())
}

#[cfg(test)]
mod tests;
