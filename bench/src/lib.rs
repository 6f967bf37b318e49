//! Fleet simulator, software TPM and criterion benches.

pub mod fleet;

pub use keylime_soft_tpm as soft_tpm;
