//! Fleet simulator, software TPM and criterion benches.

pub mod fleet;
pub mod soft_tpm;
