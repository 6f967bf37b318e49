//! Runtime policies as users send them: JSON, perhaps in a DSSE envelope, checked before they are stored.
//!
//! The order of the checks and the texts of the refusals are Keylime's (`runtime-policy.md` §6, §7), except that the
//! patterns that exclude paths are checked under their real key `excludes`, which Keylime misses.

use super::compiled_policy::{BadExclude, exclude_regex};
use super::dsse;
use super::schema_check;
use crate::algorithm::HashAlgorithm;
use crate::evidence::json_bound::{json_nodes, policy_nodes};
use crate::ima::keyring::Keyring;
use serde_json::{Value, json};

/// Whether a policy must be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureRule {
    /// Only a DSSE envelope that verifies with the given key is taken.
    Required,
    /// Signatures are not looked at.
    NotRequired,
}

/// Why a runtime policy is refused; displayed as Keylime words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Neither policy nor envelope.
    #[error("Runtime policy is not valid JSON!")]
    NotJson,
    /// A signature is required and there is no key to verify it with.
    #[error("Runtime policy signature verification required but no key was given!")]
    KeyMissing,
    /// No signature verifies; the reason is for logs.
    #[error("Runtime policy failed DSSE signature verification!")]
    BadSignature(dsse::DsseError),
    /// A signature is required and this is no envelope.
    #[error("Runtime policy is not signed!")]
    NotSigned,
    /// A pattern that excludes paths does not compile.
    #[error("Invalid regex: {0}. Exclude list regex is misformatted. Please correct the issue and try again.")]
    BadRegex(BadExclude),
    /// The document violates the schema or cannot be used; the text is the first line of the schema error.
    #[error("Runtime policy is malformatted: {0}")]
    Malformed(String),
}

impl PolicyError {
    /// The HTTP status Keylime answers with.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Self::NotJson | Self::NotSigned | Self::BadRegex(_) | Self::Malformed(_) => 400,
            Self::KeyMissing | Self::BadSignature(_) => 401,
        }
    }
}

/// A policy that may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPolicyText {
    /// The text exactly as it was sent, the envelope when there is one.
    pub text: String,
    /// SHA-256 of the text, lower-case hexadecimal.
    pub checksum: String,
    /// `meta.generator` of the policy.
    pub generator: i64,
}

/// Checks a policy that is to be stored.
///
/// # Errors
/// See [`PolicyError`].
pub fn verify_upload(
    bytes: &[u8],
    key_pem: Option<&[u8]>,
    signature: SignatureRule,
) -> Result<VerifiedPolicyText, PolicyError> {
    let text = std::str::from_utf8(bytes).map_err(|_| PolicyError::NotJson)?;
    let document = verify_document(text, key_pem, signature)?;
    check_schema(&document)?;
    let generator = document["meta"]["generator"].as_f64().unwrap_or_default();
    #[allow(clippy::cast_possible_truncation, reason = "the schema bounds it to 0..=3")]
    let generator = generator as i64;
    Ok(VerifiedPolicyText { text: text.to_owned(), checksum: checksum(bytes), generator })
}

/// Opens and verifies the envelope, if there is one, and checks the exclude patterns; answers the policy itself, whose
/// schema is not checked yet.
///
/// # Errors
/// See [`PolicyError`].
pub fn verify_document(text: &str, key_pem: Option<&[u8]>, signature: SignatureRule) -> Result<Value, PolicyError> {
    let outer = read_json(text.as_bytes())?;
    let key = key_pem.filter(|key| !key.is_empty());
    let document = match (signature, key, is_envelope(&outer)) {
        (SignatureRule::Required, None, _) => return Err(PolicyError::KeyMissing),
        (SignatureRule::Required, Some(_), false) => return Err(PolicyError::NotSigned),
        (SignatureRule::Required, Some(key), true) => {
            let payload = dsse::verified_payload(&outer, key).map_err(PolicyError::BadSignature)?;
            read_json(&payload)?
        }
        (SignatureRule::NotRequired, _, true) => {
            let payload = dsse::payload(&outer).map_err(|e| PolicyError::Malformed(e.to_string()))?;
            read_json(&payload)?
        }
        (SignatureRule::NotRequired, _, false) => outer,
    };
    if !document.is_object() {
        let found = super::python_repr::repr(&document);
        return Err(PolicyError::Malformed(format!("{found} is not of type 'object'")));
    }
    check_excludes(&document)?;
    Ok(document)
}

/// Reads JSON whose values are about as long as those of policies are.
///
/// # Errors
/// [`PolicyError::NotJson`], and [`PolicyError::Malformed`] when its values would take many times its own memory.
pub(crate) fn read_json(text: &[u8]) -> Result<Value, PolicyError> {
    check_density(text)?;
    serde_json::from_slice(text).map_err(|_| PolicyError::NotJson)
}

/// Refuses JSON that consists of more and shorter values than any policy.
pub(crate) fn check_density(text: &[u8]) -> Result<(), PolicyError> {
    match json_nodes(text) > policy_nodes(text.len()) {
        true => Err(PolicyError::Malformed("it consists of too many too short values".to_owned())),
        false => Ok(()),
    }
}

/// Checks the schema of a policy and that its key ring can be read.
///
/// # Errors
/// [`PolicyError::Malformed`].
pub fn check_schema(document: &Value) -> Result<(), PolicyError> {
    schema_check::check_runtime_policy(document).map_err(|violation| PolicyError::Malformed(violation.message))?;
    let keys = document.get("verification-keys").and_then(Value::as_str).unwrap_or_default();
    Keyring::from_json(keys).map_err(|e| PolicyError::Malformed(format!("verification-keys: {e}")))?;
    Ok(())
}

/// Whether a document is an envelope: it has a `payload` that Python counts as true.
#[must_use]
pub fn is_envelope(document: &Value) -> bool {
    document.get("payload").is_some_and(is_truthy)
}

/// SHA-256 of a stored text, lower-case hexadecimal.
#[must_use]
pub fn checksum(bytes: &[u8]) -> String {
    HashAlgorithm::Sha256.digest(&[bytes]).to_hex()
}

/// The policy that allows nothing, which agents without a policy of their own have.
#[must_use]
pub fn empty_policy() -> Value {
    json!({
        "meta": { "version": 1, "generator": 1 },
        "release": 0,
        "digests": {},
        "excludes": [],
        "keyrings": {},
        "ima": { "ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null },
        "ima-buf": {},
        "verification-keys": "",
    })
}

/// Whether Python counts a value as true.
#[must_use]
pub fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

fn check_excludes(document: &Value) -> Result<(), PolicyError> {
    let patterns = |key: &str| -> Vec<&str> {
        document.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    };
    // Keylime looks at "exclude" only and says no more than what the compiler says; a text with that key is refused in the
    // same words.
    exclude_regex(&patterns("exclude")).map_err(|bad| PolicyError::BadRegex(BadExclude { pattern: None, ..bad }))?;
    exclude_regex(&patterns("excludes")).map_err(PolicyError::BadRegex)?;
    Ok(())
}
