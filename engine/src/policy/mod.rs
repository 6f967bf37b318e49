//! The operator's policies.

pub mod python_regex;
pub mod tpm_policy;
