//! Fleet simulator, software TPM and criterion benches.

pub mod soft_tpm;
