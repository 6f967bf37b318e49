//! TPM 2.0 structures, quotes and PCRs.

pub mod clock_info;
pub mod failure;
