//! Cross-crate tests: tidy, security invariants, integration, peers.

pub mod agreement;
