//! Fleet simulator, software TPM and criterion benches.
