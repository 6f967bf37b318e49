//! TPM 2.0 structures, quotes and PCRs.
//!
//! Every reader here takes bytes an attester chose: it is total, bounded, and proves nothing. What was checked against a key
//! comes out as [`verified::Verified`].

pub mod attest_structure;
pub mod clock_info;
pub mod data_pcr;
pub mod ecc_curve;
pub mod failure;
pub mod lenient_base64;
pub mod name;
pub mod object_attributes;
pub mod pcr_bank;
pub mod pcr_blob;
pub mod pcr_mask;
pub mod pcr_selection;
pub mod public_area;
pub mod public_key;
pub mod quote;
pub mod reader;
pub mod signature;
pub mod verified;
pub mod verifying_key;
