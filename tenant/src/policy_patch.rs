//! What would have to be added to the policies so that what failed passes: shown to the operator, never applied.

use serde_json::Value;

/// Most entries of a patch; an operator reads it.
const MAX_ENTRIES: usize = 1000;
/// Parts of a runtime policy that list digests by name.
const DIGEST_TABLES: [&str; 3] = ["digests", "keyrings", "ima-buf"];

/// The additions that the failures ask for, by policy: `{"runtime_policy": {"digests": {NAME: [DIGEST]}}, "tpm_policy": {PCR:
/// [VALUE]}}`; `None` if no addition would help.
///
/// A failure that could pass names the place in a policy (`policy_entry`, a JSON pointer after the policy's name) and what was
/// found there.
#[must_use]
pub fn patch(failures: &[Value]) -> Option<Value> {
    let mut patch = Value::Null;
    for failure in failures.iter().take(MAX_ENTRIES) {
        let text = |member: &str| failure.get(member).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(entry), Some(found), Some(_)) = (text("policy_entry"), text("found"), text("remedy")) else {
            continue;
        };
        let path: Vec<String> = entry.split('/').map(unescaped).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path[..] {
            ["runtime_policy", table, name] if DIGEST_TABLES.contains(&table) => {
                append(&mut patch["runtime_policy"][table][name], found);
            }
            ["tpm_policy", pcr] => append(&mut patch["tpm_policy"][pcr], found),
            _ => {}
        }
    }
    (!patch.is_null()).then_some(patch)
}

/// A part of a JSON pointer (RFC 6901).
fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

fn append(list: &mut Value, found: &str) {
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    if let Value::Array(list) = list
        && !list.iter().any(|known| known == found)
    {
        list.push(found.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn additions_of_several_failures_are_one_patch() {
        let add = |entry: &str, found: &str| json!({"policy_entry": entry, "found": found, "remedy": "add it"});
        let failures = [
            add("runtime_policy/digests/~1usr~1bin~1a~0b", "01"),
            add("runtime_policy/digests/~1usr~1bin~1a~0b", "01"),
            add("runtime_policy/digests/~1usr~1bin~1a~0b", "02"),
            add("runtime_policy/keyrings/.ima", "03"),
            add("tpm_policy/23", "04"),
            add("runtime_policy/ima/log_hash_alg", "05"),
            json!({"policy_entry": "runtime_policy/digests/~1x", "found": "06"}),
            json!({"event_id": "qoute_validation.quote_validation", "remedy": "look at the agent"}),
        ];
        let expected = json!({
            "runtime_policy": {"digests": {"/usr/bin/a~b": ["01", "02"]}, "keyrings": {".ima": ["03"]}},
            "tpm_policy": {"23": ["04"]},
        });
        assert_eq!(patch(&failures), Some(expected));
        assert_eq!(patch(&failures[5..]), None);
    }
}
