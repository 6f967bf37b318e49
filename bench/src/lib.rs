//! Fleet simulator, software TPM and criterion benches.

pub mod fleet;
pub mod push_machine;
pub mod reference_timing;

pub use keylime_soft_tpm as soft_tpm;
