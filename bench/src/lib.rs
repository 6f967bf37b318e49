//! Fleet simulator, software TPM and criterion benches.

pub mod fleet;
pub mod push_machine;
pub mod soft_tpm;
