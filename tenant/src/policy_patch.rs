//! What would have to be added to a policy so that what failed passes: shown to the operator, never applied.

use serde_json::{Map, Value, json};

/// Most entries of a patch; an operator reads it.
const MAX_ENTRIES: usize = 1000;

/// The additions to a runtime policy or TPM policy that the failures ask for; `None` if none of them says what was found.
///
/// Each failure may carry a patch of its own (`policy_patch`), which is merged, or the `path` and `digest` of a file.
#[must_use]
pub fn patch(failures: &[Value]) -> Option<Value> {
    let mut merged = Value::Object(Map::new());
    for failure in failures.iter().take(MAX_ENTRIES) {
        if let Some(own) = failure.get("policy_patch").filter(|own| own.is_object()) {
            merge(&mut merged, own);
        } else if let (Some(path), Some(digest)) = (text(failure, "path"), text(failure, "digest")) {
            merge(&mut merged, &json!({"digests": {path: [digest]}}));
        }
    }
    merged.as_object().is_some_and(|members| !members.is_empty()).then_some(merged)
}

fn text<'v>(failure: &'v Value, member: &str) -> Option<&'v str> {
    failure.get(member).or_else(|| failure.get("context")?.get(member))?.as_str()
}

/// Adds members of objects and new elements of lists; other values are replaced.
fn merge(target: &mut Value, addition: &Value) {
    match (target, addition) {
        (Value::Object(target), Value::Object(addition)) => {
            for (name, value) in addition {
                merge(target.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(target), Value::Array(addition)) => {
            for value in addition {
                if !target.contains(value) && target.len() < MAX_ENTRIES {
                    target.push(value.clone());
                }
            }
        }
        (target, addition) => *target = addition.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_of_several_failures_are_one() {
        let failures = [
            json!({"policy_patch": {"digests": {"/a": ["01"]}}}),
            json!({"policy_patch": {"digests": {"/a": ["01", "02"]}, "keyrings": {".ima": ["03"]}}}),
            json!({"path": "/b", "context": {"digest": "04"}}),
            json!({"event_id": "qoute_validation.quote_validation"}),
        ];
        let expected = json!({"digests": {"/a": ["01", "02"], "/b": ["04"]}, "keyrings": {".ima": ["03"]}});
        assert_eq!(patch(&failures), Some(expected));
        assert_eq!(patch(&failures[3..]), None);
    }
}
