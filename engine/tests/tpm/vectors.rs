//! Access to the recorded values.

use serde_json::Value;

/// A recorded file.
pub fn load(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The list under `key`.
pub fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().unwrap()
}

/// The text under `key`.
pub fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value}"))
}

/// The bytes spelt in hexadecimal under `key`.
pub fn bytes(value: &Value, key: &str) -> Vec<u8> {
    hex::decode(text(value, key)).unwrap()
}
