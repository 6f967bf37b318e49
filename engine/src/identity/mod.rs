//! Evidence that endorses an attester: EK, AK and their certificates.

pub mod certificate;
pub mod certificate_name;
pub mod certificate_store;
pub mod registration;
pub mod subject_key;

mod der;
mod registration_member;
