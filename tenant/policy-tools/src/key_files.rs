//! Files with keys that verify file signatures, added to a policy's key ring.

use crate::environment::{Environment, FileError};
use keylime_engine::ima::key_reading::{KeyReadError, read_key};
use keylime_engine::ima::keyring::Keyring;
use keylime_engine::policy::conversion::keyring_text;
use keylime_schema::wire::python_json::{self, Layout};
use serde_json::Value;

/// What became of adding keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The new text of `verification-keys`; `None` when it stays as it is.
    pub keyring: Option<String>,
    /// A message about each file that holds no usable key.
    pub problems: Vec<String>,
}

/// Adds the keys of files to a key ring, given as the text of `verification-keys`.
///
/// # Errors
/// A file cannot be read.
pub fn add(environment: &Environment, keyring: &str, files: &[String]) -> Result<Added, FileError> {
    let mut problems = Vec::new();
    if files.is_empty() {
        return Ok(Added { keyring: None, problems });
    }
    let mut ring = match Keyring::from_json(keyring) {
        Ok(Some(ring)) => ring,
        Ok(None) if keyring.is_empty() => Keyring::default(),
        Ok(None) | Err(_) => {
            problems.push("Could not create IMA Keyring from JSON".to_owned());
            return Ok(Added { keyring: None, problems });
        }
    };
    for file in files {
        match read_key(&environment.read(file)?) {
            Ok(key) => ring.add(&key),
            Err(KeyReadError::NotAKey) => problems.push(format!("File '{file}' is not a file with a key")),
            Err(KeyReadError::UnsupportedType(kind)) => problems
                .push(format!("File '{file}' does not have a supported key: Unsupported key type {kind}PublicKey")),
        }
    }
    Ok(Added { keyring: Some(keyring_text(&ring)), problems })
}

/// A document on one line, as Python writes it.
#[must_use]
pub fn json_text(value: &Value) -> String {
    // Only maps with other keys than texts have no JSON text, and a document holds none.
    python_json::to_string(value, Layout::Compact).unwrap_or_default()
}
