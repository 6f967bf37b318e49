//! The operator's policies.

pub mod compiled_policy;
pub mod conversion;
pub mod detached_signature;
pub mod digest_table;
pub mod dsse;
pub mod merge;
#[cfg(feature = "openpgp")]
mod openpgp;
mod policy_document;
pub mod python_base64;
mod python_class;
mod python_pattern;
pub mod python_regex;
pub mod python_repr;
pub mod python_text;
pub mod report;
pub mod runtime_policy;
pub mod schema_check;
pub mod tpm_policy;

pub use compiled_policy::{BadExclude, CompiledRuntimePolicy};
pub use runtime_policy::{PolicyError, SignatureRule, VerifiedPolicyText, verify_upload};
