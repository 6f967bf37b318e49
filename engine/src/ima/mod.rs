//! The kernel's IMA measurement list against PCR 10 and a runtime policy.
//!
//! [`appraise`] reads the list line by line ([`measurement_list`], [`template`]), replays it, and judges each entry by the
//! policy's digests, exclude list and keys. A list never panics this module: whatever it holds is a verdict or a named
//! failure.

mod appraisal;
pub(crate) mod der_reader;
pub mod device_mapper;
pub mod evm_signature;
mod failure;
pub mod file_signature;
pub(crate) mod hex_field;
pub mod key_reading;
pub mod keyring;
pub mod measurement_list;
pub mod state;
pub mod template;
pub mod verification_key;

pub use appraisal::{ImaAppraisal, ImaContext, ImaOptions, KeyringUse, MAX_FAILURES, appraise, appraise_with};
pub use failure::{EntryProblem, ImaFailure, MAX_EXPECTED, MAX_TEXT_BYTES, PolicyTable};
pub use keyring::{Keyring, LearnedKeyrings};
pub use state::ImaState;
