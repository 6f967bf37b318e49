//! Reads runtime policies for the commands that look into them: plain or in an envelope, whose signature is not judged.

use crate::environment::Environment;
use crate::error::ToolError;
use keylime_engine::policy::runtime_policy::{PolicyError, SignatureRule, check_schema, verify_document};
use serde_json::Value;

/// A policy that satisfies the schema, out of its envelope if it has one.
///
/// # Errors
/// The file cannot be read or holds no valid policy.
pub fn read(environment: &Environment, path: &str) -> Result<Value, ToolError> {
    let text = environment.read_text(path)?;
    let invalid = |error: PolicyError| ToolError::refused(format!("{path}: {error}"));
    let document = verify_document(&text, None, SignatureRule::NotRequired).map_err(invalid)?;
    check_schema(&document).map_err(invalid)?;
    Ok(document)
}
