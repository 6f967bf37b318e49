//! Evidence that endorses an attester: EK, AK and their certificates.

<<<<<<< HEAD
<<<<<<< HEAD
=======
pub mod attestation_key;
>>>>>>> tpm
pub mod certificate;
pub mod certificate_name;
pub mod certificate_store;
=======
pub mod certificate;
pub mod certificate_name;
pub mod certificate_store;
pub mod registration;
pub mod subject_key;

mod der;
mod registration_member;
pub mod attestation_key;
>>>>>>> agent
pub mod certification;
pub mod credential_challenge;
pub mod endorsement_key;
pub mod registration;
pub mod subject_key;

<<<<<<< HEAD
pub mod attestation_key;
pub mod certification;
pub mod credential_challenge;
mod der;
<<<<<<< HEAD
pub mod endorsement_key;
pub mod key_derivation;
<<<<<<< HEAD
=======
mod der;
>>>>>>> tpm
=======
mod device_identity;
pub mod key_derivation;
>>>>>>> registrar
mod registration_member;
=======
>>>>>>> agent
