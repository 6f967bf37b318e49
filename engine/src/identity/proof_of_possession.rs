//! Proof that whoever asks for a session holds the enrolled attestation key (`verifier-v3-push.md` §3).
//!
//! The agent lets its TPM certify the key with the key itself over a fresh challenge. The TPM certifies only keys it has
//! loaded, so the answer shows that this TPM took part after the challenge was made.

use super::attestation_key::AttestationKey;
use super::certification::{
    CertificationError, CertificationExpectation, MAX_CERTIFICATION_BYTES, QualifyingData, verify_certification,
};
use crate::algorithm::HashAlgorithm;
use crate::tpm::signature::SignatureScheme;

/// Length of a challenge, in bytes; small enough for the qualifying data of every TPM.
pub const CHALLENGE_BYTES: usize = 16;

/// The schemes a proof may be signed with.
const SCHEMES: [SignatureScheme; 3] = [SignatureScheme::Rsassa, SignatureScheme::Rsapss, SignatureScheme::Ecdsa];
/// The hashes a proof may be signed with; SHA-1 is not among them, as collisions of it can be made.
const HASHES: [HashAlgorithm; 3] = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];

/// A random value that a proof has to be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge([u8; CHALLENGE_BYTES]);

impl Challenge {
    /// Takes fresh, unpredictable bytes as a challenge.
    #[must_use]
    pub const fn new(entropy: [u8; CHALLENGE_BYTES]) -> Self {
        Self(entropy)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; CHALLENGE_BYTES] {
        &self.0
    }
}

/// What an agent answers to a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PossessionEvidence<'a> {
    /// TPMS_ATTEST of type CERTIFY.
    pub message: &'a [u8],
    /// TPMT_SIGNATURE over it.
    pub signature: &'a [u8],
}

/// Proof of possession: made by [`verify`] and by nothing else.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a proof that nobody looks at admits nobody"]
pub struct ProvenPossession {
    challenge: Challenge,
}

impl ProvenPossession {
    /// The challenge that was answered.
    #[must_use]
    pub const fn challenge(&self) -> &Challenge {
        &self.challenge
    }
}

/// Why an answer proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PossessionError {
    /// The signature uses a hash that is not accepted here.
    #[error("proof of possession is signed with {0}, which is not accepted")]
    Hash(HashAlgorithm),
    /// The certification itself.
    #[error(transparent)]
    Certification(#[from] CertificationError),
}

/// Checks that `key` certified itself over this challenge.
///
/// # Errors
/// See [`PossessionError`].
pub fn verify(
    challenge: &Challenge,
    evidence: &PossessionEvidence<'_>,
    key: &AttestationKey,
) -> Result<ProvenPossession, PossessionError> {
    if evidence.signature.len() > MAX_CERTIFICATION_BYTES {
        return Err(CertificationError::TooLong.into());
    }
    let signature = key.verifying_key().parse(evidence.signature, &SCHEMES).map_err(CertificationError::from)?;
    let (scheme, hash) = (signature.scheme(), signature.hash());
    if !HASHES.contains(&hash) {
        return Err(PossessionError::Hash(hash));
    }
    let expected = CertificationExpectation {
        certified: key.name(),
        qualifying: QualifyingData::Exact(challenge.as_bytes()),
        scheme: Some(scheme),
        hash: Some(hash),
    };
    let _certified = verify_certification(evidence.message, evidence.signature, key, &expected)?;
    Ok(ProvenPossession { challenge: *challenge })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use serde_json::Value;

    struct Recorded {
        key: AttestationKey,
        challenge: Challenge,
        message: Vec<u8>,
        signature: Vec<u8>,
    }

    /// The proof of a session that the reference accepted.
    fn recorded() -> Recorded {
        let file: Value = serde_json::from_str(include_str!("../../tests/data/possession.json")).unwrap();
        let bytes = |member: &str| STANDARD.decode(file[member].as_str().unwrap()).unwrap();
        Recorded {
            key: AttestationKey::from_base64(file["ak_tpm"].as_str().unwrap()).unwrap(),
            challenge: Challenge::new(bytes("challenge").try_into().unwrap()),
            message: bytes("message"),
            signature: bytes("signature"),
        }
    }

    fn judge(recorded: &Recorded) -> Result<ProvenPossession, PossessionError> {
        let evidence = PossessionEvidence { message: &recorded.message, signature: &recorded.signature };
        verify(&recorded.challenge, &evidence, &recorded.key)
    }

    #[test]
    fn a_recorded_proof_is_accepted_for_its_challenge_only() {
        let mut recorded = recorded();
        assert_eq!(judge(&recorded).unwrap().challenge(), &recorded.challenge);
        recorded.challenge = Challenge::new([0; CHALLENGE_BYTES]);
        assert_eq!(judge(&recorded), Err(PossessionError::Certification(CertificationError::Qualifying)));
    }

    #[test]
    fn nothing_proves_nothing() {
        let mut recorded = recorded();
        recorded.message.clear();
        recorded.signature.clear();
        assert!(judge(&recorded).is_err());
        recorded.signature = vec![0; MAX_CERTIFICATION_BYTES + 1];
        assert_eq!(judge(&recorded), Err(PossessionError::Certification(CertificationError::TooLong)));
    }

    #[test]
    fn sha1_is_refused() {
        let mut recorded = recorded();
        recorded.signature[2..4].copy_from_slice(&[0x00, 0x04]);
        assert_eq!(judge(&recorded), Err(PossessionError::Hash(HashAlgorithm::Sha1)));
    }

    proptest! {
        #[test]
        fn no_changed_byte_is_accepted(at in any::<proptest::sample::Index>(), flip in 1_u8.., of_message in any::<bool>()) {
            let mut recorded = recorded();
            let bytes = if of_message { &mut recorded.message } else { &mut recorded.signature };
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(judge(&recorded).is_err());
        }
    }
}
