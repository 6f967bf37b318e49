//! Fleet simulator, software TPM and criterion benches.

pub mod fleet;
pub mod push_machine;

pub use keylime_soft_tpm as soft_tpm;
