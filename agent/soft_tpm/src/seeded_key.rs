//! A private key on P-256 that follows from a seed, so that a simulated machine keeps its identity between runs.

use super::SoftTpmError;
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::identity::key_derivation::kdfa;

/// A scalar and its point in uncompressed form.
pub(super) struct SeededKey {
    pub(super) scalar: [u8; 32],
    pub(super) point: [u8; 65],
}

impl SeededKey {
    /// Takes the first candidate that is a private key; one in four thousand million is not.
    pub(super) fn new(seed: &[u8; 32], purpose: &str) -> Result<Self, SoftTpmError> {
        for attempt in 0_u8..8 {
            let candidate = kdfa(HashAlgorithm::Sha256, seed, purpose, &[attempt], 256).ok_or(SoftTpmError::Key)?;
            let scalar: [u8; 32] = candidate.as_bytes().try_into().map_err(|_| SoftTpmError::Key)?;
            let Ok(key) = PrivateKey::from_private_key(&ECDH_P256, &scalar) else { continue };
            let public = key.compute_public_key().map_err(|_| SoftTpmError::Key)?;
            let point = public.as_ref().try_into().map_err(|_| SoftTpmError::Key)?;
            return Ok(Self { scalar, point });
        }
        Err(SoftTpmError::Key)
    }
}
