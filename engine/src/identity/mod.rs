//! Evidence that endorses an attester: EK, AK and their certificates.

pub mod attestation_key;
pub mod certification;
pub mod credential_challenge;
pub mod endorsement_key;
pub mod key_derivation;
