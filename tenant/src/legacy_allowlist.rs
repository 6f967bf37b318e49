//! Allowlists and exclude lists from before runtime policies, turned into one (`runtime-policy.md` §8).

use keylime_engine::policy::runtime_policy;
use serde_json::{Map, Value};

/// Prefix of a path that is the name of a keyring.
const KEYRING_PREFIX: &str = "%keyring:";
/// `meta.generator` of converted allowlists.
const LEGACY_GENERATOR: i64 = 3;
const POLICY_MEMBERS: [&str; 6] = ["release", "excludes", "keyrings", "ima", "ima-buf", "verification-keys"];

/// Why a text is not an allowlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAllowlist {
    /// The allowlist is not UTF-8.
    #[error("the allowlist is not text")]
    NotText,
    /// A JSON allowlist without the member `hashes`.
    #[error("the allowlist is a JSON object without hashes; give runtime policies with --runtime-policy")]
    NoHashes,
    /// A member has another type than the policy needs.
    #[error("the allowlist has members of the wrong type")]
    Type,
}

/// Converts an allowlist, flat or JSON, and a list of patterns to exclude.
///
/// # Errors
/// See [`InvalidAllowlist`].
pub fn convert(allowlist: &[u8], excludes: Option<&[u8]>) -> Result<Value, InvalidAllowlist> {
    let text = std::str::from_utf8(allowlist).map_err(|_| InvalidAllowlist::NotText)?;
    let mut policy = runtime_policy::empty_policy();
    policy["meta"]["generator"] = Value::from(LEGACY_GENERATOR);
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(members)) => fill_from_json(&mut policy, members)?,
        _ => fill_from_lines(&mut policy, text)?,
    }
    if let Some(excludes) = excludes {
        let text = std::str::from_utf8(excludes).map_err(|_| InvalidAllowlist::NotText)?;
        let patterns = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let list = policy["excludes"].as_array_mut().ok_or(InvalidAllowlist::Type)?;
        list.extend(patterns.map(Value::from));
    }
    Ok(policy)
}

fn fill_from_json(policy: &mut Value, mut members: Map<String, Value>) -> Result<(), InvalidAllowlist> {
    let hashes = members.remove("hashes").filter(runtime_policy::is_truthy).ok_or(InvalidAllowlist::NoHashes)?;
    policy["digests"] = hashes;
    for name in POLICY_MEMBERS {
        if let Some(member) = members.remove(name).filter(runtime_policy::is_truthy) {
            policy[name] = member;
        }
    }
    Ok(())
}

/// Lines of a digest and a path; lines of another form are skipped.
fn fill_from_lines(policy: &mut Value, text: &str) -> Result<(), InvalidAllowlist> {
    for line in text.lines().map(str::trim) {
        let Some((digest, path)) = line.split_once(char::is_whitespace) else { continue };
        let (map, path) = match path.trim_start() {
            "" => continue,
            path => match path.strip_prefix(KEYRING_PREFIX) {
                Some(keyring) => ("keyrings", keyring),
                None => ("digests", path),
            },
        };
        let map = policy[map].as_object_mut().ok_or(InvalidAllowlist::Type)?;
        let list = map.entry(path).or_insert_with(|| Value::Array(Vec::new()));
        list.as_array_mut().ok_or(InvalidAllowlist::Type)?.push(Value::from(digest));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn flat_lists_become_digests_keyrings_and_excludes() {
        let list = b"aa  /usr/bin/a b\n\nbb /x\ncc /x\nlonely\ndd %keyring:.ima\n";
        let policy = convert(list, Some(b"# comment\n /tmp/.* \n\n")).unwrap();
        assert_eq!(policy["digests"], json!({"/usr/bin/a b": ["aa"], "/x": ["bb", "cc"]}));
        assert_eq!(policy["keyrings"], json!({".ima": ["dd"]}));
        assert_eq!(policy["excludes"], json!(["/tmp/.*"]));
        assert_eq!(policy["meta"]["generator"], 3);
    }

    #[test]
    fn json_lists_keep_what_a_policy_knows() {
        let list = json!({"meta": {"version": 9}, "hashes": {"/x": ["aa"]}, "release": 2, "odd": 1}).to_string();
        let policy = convert(list.as_bytes(), None).unwrap();
        assert_eq!((&policy["digests"], &policy["release"]), (&json!({"/x": ["aa"]}), &json!(2)));
        assert_eq!(policy["meta"], json!({"version": 1, "generator": 3}));
        assert!(policy.get("odd").is_none());
        assert_eq!(convert(b"{\"digests\": {}}", None), Err(InvalidAllowlist::NoHashes));
        assert_eq!(convert(&[0xff], None), Err(InvalidAllowlist::NotText));
    }
}
