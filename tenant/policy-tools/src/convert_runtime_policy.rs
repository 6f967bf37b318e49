//! `keylime_convert_runtime_policy`: policies of older formats in the current one (`runtime-policy.md` §8).

use crate::environment::{Console, Environment, FileError};
use crate::error::ToolError;
use crate::key_files::{self, json_text};
use crate::python_text::{lines, split_first_word, split_lines, strip, universal_newlines};
use keylime_arguments::Matches;
use keylime_engine::policy::python_repr;
use keylime_engine::policy::runtime_policy::{empty_policy, is_truthy};
use serde_json::{Map, Value, json};
use std::path::Path;

/// `meta.version` of the current format.
const CURRENT_VERSION: i64 = 1;
/// `meta.generator` of converted allowlists.
const FROM_ALLOWLIST: i64 = 3;
/// `meta.generator` of policies that were brought to the current version.
const FROM_POLICY: i64 = 2;
/// Prefix of a path that is the name of a keyring.
const KEYRING_PREFIX: &str = "%keyring:";

/// Runs the tool.
///
/// # Errors
/// See [`ToolError`].
pub fn run(matches: &Matches, environment: &Environment, console: &mut Console<'_>) -> Result<(), ToolError> {
    let given = |name: &str| matches.value(name).filter(|value| !value.is_empty());
    let (allowlist, existing) = (given("allowlist"), given("runtime_policy"));
    if allowlist.is_some() && existing.is_some() {
        return Err(ToolError::refused("Cannot provide both --allowlist and --runtime-policy!"));
    }
    if allowlist.is_none() && existing.is_none() {
        return Err(ToolError::refused("Either --allowlist or --runtime_policy is required!"));
    }
    let Some(output) = given("output_file") else {
        return Err(ToolError::refused("An output file path (-o, --output_file) is required to write new policy!"));
    };
    let mut notices = Vec::new();
    let timestamp = environment.timestamp();
    let converted = match (allowlist, existing) {
        (Some(path), _) => from_allowlist(path, &text(environment, path)?, &timestamp, &mut notices),
        (None, path) => {
            let path = path.unwrap_or_default();
            from_policy(path, &text(environment, path)?, &timestamp, &mut notices)
        }
    };
    for notice in notices {
        console.line(notice)?;
    }
    let mut policy = converted.map_err(ToolError::refused)?;
    let files = matches.values("verification_keys");
    if let Some(path) = given("excludelist") {
        add_excludes(&mut policy, &text(environment, path)?)?;
    }
    let keyring = policy.get("verification-keys").and_then(Value::as_str).unwrap_or_default().to_owned();
    let added = key_files::add(environment, &keyring, files)?;
    for problem in added.problems {
        console.line(problem)?;
    }
    if let Some(keyring) = added.keyring {
        policy["verification-keys"] = json!(keyring);
    }
    let fail = |error| FileError { path: output.to_owned(), error };
    Ok(std::fs::write(environment.path(output), json_text(&policy)).map_err(fail)?)
}

fn text(environment: &Environment, path: &str) -> Result<String, FileError> {
    Ok(universal_newlines(&environment.read_text(path)?).into_owned())
}

/// Converts an allowlist, plain or JSON.
fn from_allowlist(path: &str, text: &str, timestamp: &str, notices: &mut Vec<String>) -> Result<Value, String> {
    let name = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut policy = stamped(FROM_ALLOWLIST, timestamp);
    let Ok(document) = serde_json::from_str::<Value>(text) else {
        notices
            .push(format!("{name} is not JSON-formatted; attempting to convert to IMA policy from flat file format"));
        fill_from_lines(&mut policy, text, notices);
        return Ok(policy);
    };
    let truthy = |key: &str| document.get(key).filter(|value| is_truthy(value));
    let Some(hashes) = truthy("hashes") else {
        if truthy("digests").is_some() {
            return Err(format!("{name} is a runtime policy already; give it with --runtime_policy"));
        }
        return Err(format!("{name} does not contain a valid digest list!"));
    };
    notices.push(format!("{name} appears to be JSON-formatted; converting to IMA policy"));
    policy["digests"] = hashes.clone();
    take_over(&mut policy, &document, "allowlist", &["meta", "digests"], notices);
    Ok(policy)
}

/// Brings a policy to the current version.
fn from_policy(path: &str, text: &str, timestamp: &str, notices: &mut Vec<String>) -> Result<Value, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| format!("{path} is not JSON: {error}"))?;
    if !document.is_object() {
        return Err(format!("The policy in file {path} must be a dictionary"));
    }
    let version = document["meta"].get("version").filter(|version| version.is_number());
    let version = version.ok_or_else(|| format!("The policy in file {path} has no meta.version"))?;
    if version.as_f64().unwrap_or_default() >= f64::from(i32::try_from(CURRENT_VERSION).unwrap_or(1)) {
        return Ok(document);
    }
    notices.push(format!(
        "Provided policy has version {}; latest policy has version {CURRENT_VERSION}. Updating to latest version.",
        python_repr::repr(version)
    ));
    let mut policy = stamped(FROM_POLICY, timestamp);
    take_over(&mut policy, &document, "existing IMA policy", &["meta"], notices);
    Ok(policy)
}

fn stamped(generator: i64, timestamp: &str) -> Value {
    let mut policy = empty_policy();
    policy["meta"]["generator"] = json!(generator);
    policy["meta"]["timestamp"] = json!(timestamp);
    policy
}

/// Copies the members of the format from another document, except some.
fn take_over(policy: &mut Value, from: &Value, kind: &str, except: &[&str], notices: &mut Vec<String>) {
    for (key, member) in policy.as_object_mut().into_iter().flatten() {
        if except.contains(&key.as_str()) {
            continue;
        }
        match from.get(key).filter(|value| is_truthy(value)) {
            Some(value) => *member = value.clone(),
            None => notices.push(format!("IMA policy field '{key}' not found in {kind}; using default value")),
        }
    }
}

/// Lines of a digest and a path; lines of another form are skipped.
fn fill_from_lines(policy: &mut Value, text: &str, notices: &mut Vec<String>) {
    let (mut digests, mut keyrings) = (Map::new(), Map::new());
    for (number, line) in split_lines(text).map(strip).enumerate().filter(|(_, line)| !line.is_empty()) {
        let Some((digest, path)) = split_first_word(line) else {
            notices.push(format!("Line #{number} in Allowlist does not consist of hash and file path: {line}"));
            continue;
        };
        let (table, name) = match path.strip_prefix(KEYRING_PREFIX) {
            Some(keyring) => (&mut keyrings, keyring),
            None => (&mut digests, path),
        };
        if let Value::Array(list) = table.entry(name).or_insert_with(|| json!([])) {
            list.push(json!(digest));
        }
    }
    policy["digests"] = Value::Object(digests);
    policy["keyrings"] = Value::Object(keyrings);
}

/// Adds the patterns of an exclude list; here lines that begin with `#` are comments.
fn add_excludes(policy: &mut Value, text: &str) -> Result<(), ToolError> {
    let list = policy.get_mut("excludes").and_then(Value::as_array_mut);
    let list = list.ok_or_else(|| ToolError::refused("The policy has no list of excludes to add to"))?;
    list.extend(lines(text).map(strip).filter(|line| !line.is_empty() && !line.starts_with('#')).map(Value::from));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(text: &str) -> (Result<Value, String>, Vec<String>) {
        let mut notices = Vec::new();
        (from_allowlist("dir/list", text, "now", &mut notices), notices)
    }

    #[test]
    fn flat_lists_become_digests_and_keyrings() {
        let (policy, notices) = convert("aa  /usr/bin/a b\n\nbb /x\ncc /x\nlonely\ndd %keyring:.ima\n# note\n");
        let policy = policy.unwrap();
        assert_eq!(policy["digests"], json!({ "/usr/bin/a b": ["aa"], "/x": ["bb", "cc"], "note": ["#"] }));
        assert_eq!(policy["keyrings"], json!({ ".ima": ["dd"] }));
        assert_eq!(notices[1], "Line #4 in Allowlist does not consist of hash and file path: lonely");
    }

    #[test]
    fn json_lists_keep_what_the_format_knows() {
        let (policy, notices) = convert(r#"{"hashes": {"/x": ["aa"]}, "release": 2, "odd": 1, "excludes": []}"#);
        let policy = policy.unwrap();
        assert_eq!((&policy["digests"], &policy["release"]), (&json!({ "/x": ["aa"] }), &json!(2)));
        assert!(policy.get("odd").is_none());
        assert!(
            notices.contains(&"IMA policy field 'excludes' not found in allowlist; using default value".to_owned())
        );
        assert!(convert(r#"{"digests": {"/x": ["aa"]}}"#).0.is_err());
        assert_eq!(convert("[]").0.unwrap_err(), "list does not contain a valid digest list!");
    }

    #[test]
    fn only_older_policies_are_rebuilt() {
        let mut notices = Vec::new();
        let current = r#"{"meta":{"version":1},"odd":1}"#;
        assert_eq!(from_policy("p", current, "now", &mut notices).unwrap().to_string(), current);
        let older = r#"{"meta":{"version":0},"digests":{"/x":["aa"]},"odd":1}"#;
        let policy = from_policy("p", older, "now", &mut notices).unwrap();
        assert_eq!((&policy["meta"]["generator"], &policy["digests"]["/x"]), (&json!(2), &json!(["aa"])));
        assert_eq!(notices.len(), 7);
        assert!(from_policy("p", "{}", "now", &mut notices).is_err());
        assert!(from_policy("p", "[]", "now", &mut notices).is_err());
    }
}
