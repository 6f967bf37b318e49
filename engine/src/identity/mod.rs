//! Evidence that endorses an attester: EK, AK and their certificates.

pub mod certificate;
pub mod certificate_name;
pub mod certificate_store;
pub mod registration;
pub mod subject_key;

pub mod attestation_key;
pub mod certification;
pub mod credential_challenge;
mod der;
pub mod endorsement;
pub mod endorsement_key;
pub mod identity_quote;
pub mod key_derivation;
pub mod payload_key;
mod registration_member;
