//! The device-mapper policy and how it compares attributes.

use crate::policy::python_regex::PythonRegex;
use crate::policy::python_repr::repr;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The device-mapper part of a runtime policy, with its patterns compiled.
///
/// Keylime finds out what a policy lacks only when an event needs it; so does this.
#[derive(Debug, Clone)]
pub struct DeviceMapperPolicy {
    policy: Map<String, Value>,
    patterns: HashMap<String, Option<PythonRegex>>,
}

/// Why a device-mapper policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceMapperPolicyError {
    /// Not an object.
    #[error("not an object")]
    NotAnObject,
    /// More rules than any honest policy has.
    #[error("more than {MAX_RULES} rules")]
    TooManyRules,
}

/// Most rules of a policy.
pub const MAX_RULES: usize = 10_000;

impl DeviceMapperPolicy {
    /// Reads the policy.
    ///
    /// # Errors
    /// See [`DeviceMapperPolicyError`].
    pub fn from_json(policy: &Value) -> Result<Self, DeviceMapperPolicyError> {
        let policy = policy.as_object().ok_or(DeviceMapperPolicyError::NotAnObject)?.clone();
        if policy.get("rules").and_then(Value::as_object).is_some_and(|rules| rules.len() > MAX_RULES) {
            return Err(DeviceMapperPolicyError::TooManyRules);
        }
        let mut patterns = HashMap::new();
        for value in policy.values() {
            compile_texts(value, &mut patterns);
        }
        Ok(Self { policy, patterns })
    }

    /// Which attribute of a device identifies it.
    pub(super) fn match_on(&self) -> Option<&'static str> {
        match self.policy.get("match_on")?.as_str()? {
            "name" => Some("name"),
            "uuid" => Some("uuid"),
            _ => None,
        }
    }

    /// Names and rules in order.
    pub(super) fn rules(&self) -> impl Iterator<Item = (&str, &Value)> {
        let rules = self.policy.get("rules").and_then(Value::as_object);
        rules.into_iter().flatten().map(|(name, rule)| (name.as_str(), rule))
    }

    /// The rule of this name.
    pub(super) fn rule(&self, name: &str) -> &Value {
        self.policy.get("rules").and_then(|rules| rules.get(name)).unwrap_or(&Value::Null)
    }

    /// Whether a pattern of this policy matches a whole text.
    pub(super) fn full_match(&self, pattern: &str, text: &str) -> bool {
        self.patterns.get(pattern).and_then(Option::as_ref).is_some_and(|regex| regex.is_match(text))
    }

    /// Whether an attribute satisfies a reference: nothing asks for nothing, truth values, numbers and patterns each
    /// compare in their own way (`ima.md` §10).
    pub(super) fn satisfies(&self, attribute: &Value, reference: &Value) -> bool {
        match (reference, attribute) {
            (Value::Null, _) => true,
            (_, Value::Null) => false,
            (Value::Bool(reference), Value::String(text)) => truth_of(text) == Some(*reference),
            (Value::Bool(reference), attribute) => python_number(attribute) == Some(i128::from(*reference)),
            (Value::Number(_), attribute) => {
                let reference_number = python_number(reference);
                let number = match attribute {
                    Value::String(text) => python_int(text),
                    other => python_number(other),
                };
                number.is_some() && number == reference_number
            }
            (Value::String(pattern), Value::String(text)) => self.full_match(pattern, text),
            (Value::String(pattern), attribute) => self.full_match(pattern, &repr(attribute)),
            (Value::Array(_) | Value::Object(_), _) => false,
        }
    }
}

fn compile_texts(value: &Value, patterns: &mut HashMap<String, Option<PythonRegex>>) {
    match value {
        Value::String(pattern) if !patterns.contains_key(pattern) => {
            patterns.insert(pattern.clone(), PythonRegex::full_match(pattern).ok());
        }
        Value::Array(items) => items.iter().for_each(|item| compile_texts(item, patterns)),
        Value::Object(members) => members.values().for_each(|member| compile_texts(member, patterns)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn truth_of(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "t" | "true" | "on" | "1" => Some(true),
        "n" | "no" | "f" | "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// A JSON value as a Python integer: truth values count as 0 and 1, a fraction is no integer.
pub(super) fn python_number(value: &Value) -> Option<i128> {
    match value {
        Value::Bool(value) => Some(i128::from(*value)),
        Value::Number(number) => number.as_i128().or_else(|| {
            let float = number.as_f64()?;
            #[allow(clippy::cast_possible_truncation, reason = "checked to be integral and in range")]
            (float.fract() == 0.0 && float.abs() < 1e30).then_some(float as i128)
        }),
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A text as Python's `int()` reads it: a sign, digits, single underscores between digits.
fn python_int(text: &str) -> Option<i128> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let packed: String = digits.chars().filter(|c| *c != '_').collect();
    if packed.is_empty() || !packed.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i128 = packed.parse().ok()?;
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_of_reference_compares_in_its_own_way() {
        let policy = DeviceMapperPolicy::from_json(&json!({ "p": ["ab+", "5"] })).unwrap();
        let cases = [
            (json!("x"), json!(null), true),
            (json!(null), json!("ab+"), false),
            (json!("Yes"), json!(true), true),
            (json!("off"), json!(false), true),
            (json!("maybe"), json!(false), false),
            (json!(1), json!(true), true),
            (json!("254:2"), json!(254), false),
            (json!("1_0"), json!(10), true),
            (json!(7), json!(7), true),
            (json!("abb"), json!("ab+"), true),
            (json!("abbc"), json!("ab+"), false),
            (json!(5), json!("5"), true),
            (json!("x"), json!(["x"]), false),
        ];
        for (attribute, reference, expected) in cases {
            assert_eq!(policy.satisfies(&attribute, &reference), expected, "{attribute} against {reference}");
        }
    }
}
