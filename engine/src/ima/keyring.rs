//! Key rings: keys for file signatures by key id, and their JSON form (`runtime-policy.md` §3).

use super::file_signature::{FileSignature, SignatureHash};
use super::key_reading::{ReadKey, read_public_der};
use super::verification_key::VerificationKey;
use crate::policy::python_base64;
use base64::Engine as _;
use serde_json::{Value, json};
use std::sync::Arc;

/// Keys by id, in the order in which they were added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keyring {
    keys: Vec<(i128, Arc<VerificationKey>)>,
}

/// Why a text cannot be read as a key ring at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// Not JSON.
    #[error("key ring is not JSON: {0}")]
    NotJson(String),
    /// A key's base64 has a wrong length.
    #[error("pubkeys[{0}]: incorrect base64 padding")]
    Padding(usize),
}

impl Keyring {
    /// Reads the JSON form. `None` when the text is empty or describes no key ring; keys that are no DER public key of type
    /// RSA or EC are left out.
    ///
    /// # Errors
    /// See [`KeyringError`].
    pub fn from_json(text: &str) -> Result<Option<Self>, KeyringError> {
        if text.is_empty() {
            return Ok(None);
        }
        let parse = |text: &str| -> Result<Value, KeyringError> {
            serde_json::from_str(text).map_err(|e| KeyringError::NotJson(e.to_string()))
        };
        let mut value = parse(text)?;
        if let Value::String(inner) = value {
            value = parse(&inner)?;
        }
        if crate::policy::schema_check::check_keyring(&value).is_err() {
            return Ok(None);
        }
        let mut keyring = Self::default();
        let keys = value["pubkeys"].as_array().into_iter().flatten();
        for (index, key) in keys.enumerate() {
            let der = python_base64::lenient(key.as_str().unwrap_or_default()).ok_or(KeyringError::Padding(index))?;
            if let Ok(key) = read_public_der(&der) {
                let given = value["keyids"].get(index).and_then(integer).filter(|id| *id != 0);
                let id = given.unwrap_or_else(|| i128::from(key.key_id()));
                keyring.insert(id, Arc::new(key));
            }
        }
        Ok(Some(keyring))
    }

    /// The JSON form, as one text.
    #[must_use]
    pub fn to_json(&self) -> String {
        let encode = |key: &Arc<VerificationKey>| base64::engine::general_purpose::STANDARD.encode(key.spki());
        let keys: Vec<String> = self.keys.iter().map(|(_, key)| encode(key)).collect();
        let ids: Vec<Value> = self.keys.iter().map(|(id, _)| number(*id)).collect();
        json!({ "pubkeys": keys, "keyids": ids }).to_string()
    }

    /// Adds a key under the id signatures refer to; a key with the same id is replaced.
    pub fn add(&mut self, read: &ReadKey) {
        self.insert(i128::from(read.key_id()), Arc::new(read.key.clone()));
    }

    fn insert(&mut self, id: i128, key: Arc<VerificationKey>) {
        match self.keys.iter_mut().find(|(known, _)| *known == id) {
            Some(slot) => slot.1 = key,
            None => self.keys.push((id, key)),
        }
    }

    /// The ids in order.
    pub fn key_ids(&self) -> impl Iterator<Item = i128> {
        self.keys.iter().map(|(id, _)| *id)
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key with this id.
    #[must_use]
    pub fn get(&self, key_id: u32) -> Option<&VerificationKey> {
        self.keys.iter().find(|(id, _)| *id == i128::from(key_id)).map(|(_, key)| key.as_ref())
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.keys.iter().map(|(_, key)| 2 * key.spki().len() + size_of::<(i128, VerificationKey)>()).sum()
    }
}

/// Keys an agent's kernel measured and the policy accepted, in rings named like the kernel's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LearnedKeyrings {
    rings: Vec<(String, Keyring)>,
}

/// Most keys one agent may teach the verifier: the keys of a machine number in the tens.
pub const MAX_LEARNED_KEYS: usize = 1024;

/// An agent taught more than [`MAX_LEARNED_KEYS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_LEARNED_KEYS} measured keys")]
pub struct TooManyKeys;

impl LearnedKeyrings {
    /// Adds a key to the ring of this name.
    ///
    /// # Errors
    /// [`TooManyKeys`] when the rings are full.
    pub fn learn(&mut self, ring: &str, read: &ReadKey) -> Result<(), TooManyKeys> {
        if self.rings.iter().map(|(_, ring)| ring.len()).sum::<usize>() >= MAX_LEARNED_KEYS {
            return Err(TooManyKeys);
        }
        match self.rings.iter_mut().find(|(name, _)| name == ring) {
            Some((_, keyring)) => keyring.add(read),
            None => {
                let mut keyring = Keyring::default();
                keyring.add(read);
                self.rings.push((ring.to_owned(), keyring));
            }
        }
        Ok(())
    }

    /// Names and rings in the order in which they were learned.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Keyring)> {
        self.rings.iter().map(|(name, ring)| (name.as_str(), ring))
    }

    /// The form of the column `learned_ima_keyrings`: an object from ring names to key rings in their JSON form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Object(self.rings.iter().map(|(name, ring)| (name.clone(), Value::String(ring.to_json()))).collect())
    }

    /// Reads the form of the column `learned_ima_keyrings`; `None` when it holds no ring. A ring that cannot be read is left
    /// out, so that signatures made with its keys do not verify.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let rings: Vec<(String, Keyring)> = value
            .as_object()?
            .iter()
            .filter_map(|(name, text)| Some((name.clone(), Keyring::from_json(text.as_str()?).ok().flatten()?)))
            .collect();
        (!rings.is_empty()).then_some(Self { rings })
    }
}

/// What became of looking for the key of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureVerdict {
    /// The signature verifies.
    Verified,
    /// No ring holds its key.
    UnknownKey,
    /// The key is known and the signature is not its own for this digest.
    Wrong,
    /// The signature names another algorithm than the entry's digest has.
    OtherAlgorithm,
}

/// Verifies a signature over a digest of `algorithm` with the first of the rings that holds its key.
pub fn verify_with<'k>(
    mut rings: impl Iterator<Item = &'k Keyring>,
    signature: &FileSignature<'_>,
    algorithm: &str,
    digest: &[u8],
) -> SignatureVerdict {
    let hash: SignatureHash = signature.hash;
    if hash.name() != algorithm {
        return SignatureVerdict::OtherAlgorithm;
    }
    let Some(key) = rings.find_map(|ring| ring.get(signature.key_id)) else { return SignatureVerdict::UnknownKey };
    let verified = signature.signed_digest(digest).is_some_and(|signed| key.verifies(hash, &signed, signature.bytes));
    if verified { SignatureVerdict::Verified } else { SignatureVerdict::Wrong }
}

/// A JSON integer as Python sees it: `1.0` is one too.
fn integer(value: &Value) -> Option<i128> {
    let number = value.as_number()?;
    if let Some(integer) = number.as_i128() {
        return Some(integer);
    }
    let float = number.as_f64()?;
    #[allow(clippy::cast_possible_truncation, reason = "checked to be integral and in range")]
    (float.fract() == 0.0 && float.abs() < 1e30).then_some(float as i128)
}

fn number(id: i128) -> Value {
    i64::try_from(id)
        .map(Value::from)
        .or_else(|_| u64::try_from(id).map(Value::from))
        .unwrap_or_else(|_| Value::from(i64::MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_no_key_ring_are_none() {
        for text in ["", "null", "[]", "{}", r#"{"keyids":[]}"#, r#"{"keyids":["1"],"pubkeys":[]}"#] {
            assert_eq!(Keyring::from_json(text), Ok(None), "{text}");
        }
        assert!(matches!(Keyring::from_json("zz"), Err(KeyringError::NotJson(_))));
        assert_eq!(Keyring::from_json(r#"{"keyids":[1],"pubkeys":["QUJDR"]}"#), Err(KeyringError::Padding(0)));
    }
}
