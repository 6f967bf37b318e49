//! Evidence that endorses an attester: EK, AK and their certificates.

pub mod attestation_key;
pub mod certificate;
pub mod certificate_name;
pub mod certificate_store;
pub mod certification;
pub mod credential_challenge;
mod der;
mod device_identity;
pub mod endorsement;
pub mod endorsement_key;
pub mod identity_quote;
pub mod key_derivation;
pub mod payload_key;
pub mod proof_of_possession;
pub mod registration;
mod registration_member;
pub mod session_token;
pub mod subject_key;
