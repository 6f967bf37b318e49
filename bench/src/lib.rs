//! Fleet simulator, costs of the operator's tools, software TPM and criterion benches.

pub mod fleet;
pub mod push_machine;
pub mod reference_timing;
pub mod tools;

pub use keylime_soft_tpm as soft_tpm;
