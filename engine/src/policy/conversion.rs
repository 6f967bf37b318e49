//! Conversion of allowlists and policies of earlier Keylime versions (`runtime-policy.md` §8).
//!
//! Content is taken over as it is: a converted policy may violate the schema, and says so only when it is checked.

use super::merge;
use super::python_text;
use super::runtime_policy::{empty_policy, is_truthy};
use crate::ima::key_reading::{KeyReadError, read_key};
use crate::ima::keyring::Keyring;
use serde_json::{Map, Value, json};
use std::fmt;

/// The version of policies that conversion makes.
pub const CURRENT_VERSION: u64 = 1;

/// `meta.generator` of a policy made from an older policy.
const GENERATOR_COMPATIBLE: u8 = 2;

/// `meta.generator` of a policy made from an allowlist.
const GENERATOR_LEGACY: u8 = 3;

/// Longest part of a skipped line that a notice repeats, in bytes.
const MAX_NOTICE_BYTES: usize = 256;

/// A policy and what its author should know about how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Converted {
    /// The policy.
    pub policy: Value,
    /// In the order of the input.
    pub notices: Vec<ConversionNotice>,
}

/// Something that conversion skipped or assumed; displayed as Keylime words it, without the name of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConversionNotice {
    /// The allowlist is JSON.
    JsonAllowlist,
    /// The allowlist is a flat file.
    FlatAllowlist,
    /// A line is not a digest and a path; lines are counted from zero, as Keylime does.
    SkippedLine {
        /// Number of the line.
        line: usize,
        /// Its text, clipped.
        text: String,
    },
    /// A member is absent or empty and gets its default.
    Default {
        /// The member.
        member: String,
        /// What lacks it.
        source: LegacySource,
    },
    /// The policy has an older version, which is raised.
    Updated {
        /// The version it has, as JSON.
        version: String,
    },
}

/// What a policy is converted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegacySource {
    /// A JSON allowlist.
    Allowlist,
    /// A runtime policy of an older version.
    Policy,
}

/// Why an input cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConversionError {
    /// JSON that is no object.
    #[error("the allowlist is JSON but not an object")]
    NotObject,
    /// The allowlist is a runtime policy already.
    #[error("the allowlist is a runtime policy already; update it as one")]
    AlreadyPolicy,
    /// No digests under any name.
    #[error("the allowlist does not contain a valid digest list")]
    NoDigests,
    /// A policy whose `meta.version` is missing or no number.
    #[error("the policy has no numeric meta.version")]
    NoVersion,
    /// `verification-keys` of the policy is no key ring.
    #[error("verification-keys of the policy is not a key ring: {0}")]
    Keyring(String),
    /// A file that should hold a key does not.
    #[error("{0}")]
    Key(#[from] KeyReadError),
}

/// Converts an allowlist, flat or JSON. The result has no `meta.timestamp`: the time is the caller's.
///
/// # Errors
/// [`ConversionError`] when it holds no allowlist.
pub fn convert_allowlist(text: &str) -> Result<Converted, ConversionError> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(members)) => convert_json_allowlist(members),
        Ok(_) => Err(ConversionError::NotObject),
        Err(_) => Ok(convert_flat_allowlist(text)),
    }
}

/// Raises a policy of an older version to [`CURRENT_VERSION`]; a current one is answered as it is.
///
/// # Errors
/// [`ConversionError::NoVersion`].
pub fn update_policy(policy: Value) -> Result<Converted, ConversionError> {
    let version = policy.pointer("/meta/version").filter(|version| version.is_number());
    let version = version.cloned().ok_or(ConversionError::NoVersion)?;
    #[allow(clippy::cast_precision_loss, reason = "the current version is small")]
    if version.as_f64().is_none_or(|version| version >= CURRENT_VERSION as f64) {
        return Ok(Converted { policy, notices: Vec::new() });
    }
    let mut notices = vec![ConversionNotice::Updated { version: version.to_string() }];
    let Value::Object(old) = policy else { return Err(ConversionError::NoVersion) };
    let policy = migrate(old, GENERATOR_COMPATIBLE, LegacySource::Policy, &mut notices);
    Ok(Converted { policy, notices })
}

/// The patterns of an exclude file: one a line, without empty lines and comments. Whether they compile is not checked.
pub fn exclude_patterns(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', '\r']).map(python_text::strip).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Appends the patterns of an exclude file to `excludes`, as they are.
pub fn add_excludes(policy: &mut Value, text: &str) {
    let Some(members) = policy.as_object_mut() else { return };
    let excludes = members.entry("excludes").or_insert_with(|| json!([]));
    if let Value::Array(excludes) = excludes {
        excludes.extend(exclude_patterns(text).map(|pattern| Value::String(pattern.to_owned())));
    }
}

/// Adds the key in a file (a certificate, a public or an unencrypted private key, PEM or DER) to `verification-keys`.
///
/// # Errors
/// [`ConversionError::Keyring`] and [`ConversionError::Key`]; the policy is as before.
pub fn add_verification_key(policy: &mut Value, file: &[u8]) -> Result<(), ConversionError> {
    let known = policy.get("verification-keys").and_then(Value::as_str).unwrap_or_default();
    let mut keyring = match Keyring::from_json(known) {
        Ok(Some(keyring)) => keyring,
        Ok(None) if known.is_empty() => Keyring::default(),
        Ok(None) => return Err(ConversionError::Keyring("it violates the schema".to_owned())),
        Err(error) => return Err(ConversionError::Keyring(error.to_string())),
    };
    keyring.add(&read_key(file)?);
    if let Some(members) = policy.as_object_mut() {
        members.insert("verification-keys".to_owned(), Value::String(keyring_text(&keyring)));
    }
    Ok(())
}

/// A key ring as Python's `json.dumps` writes it, so that a policy made here equals one made there.
#[must_use]
pub fn keyring_text(keyring: &Keyring) -> String {
    // Base64 and integers hold neither colons nor commas.
    keyring.to_json().replace(':', ": ").replace(',', ", ")
}

/// The digest and the path of one line of a flat allowlist; `None` for a line that is not both.
#[must_use]
pub fn allowlist_entry(line: &str) -> Option<(&str, &str)> {
    python_text::first_word(python_text::strip(line))
}

/// The name before which a flat allowlist writes the digests of key rings.
const KEYRING_MARK: &str = "%keyring:";

fn convert_flat_allowlist(text: &str) -> Converted {
    let mut notices = vec![ConversionNotice::FlatAllowlist];
    let (mut digests, mut keyrings) = (Map::new(), Map::new());
    for (line, text) in python_text::lines(text).map(python_text::strip).enumerate() {
        if text.is_empty() {
            continue;
        }
        let Some((digest, path)) = allowlist_entry(text) else {
            let text = text[..text.floor_char_boundary(MAX_NOTICE_BYTES)].to_owned();
            notices.push(ConversionNotice::SkippedLine { line, text });
            continue;
        };
        match path.strip_prefix(KEYRING_MARK) {
            Some(ring) => merge::append(&mut keyrings, ring, digest),
            None => merge::append(&mut digests, path, digest),
        }
    }
    let mut policy = empty_policy();
    policy["meta"]["generator"] = json!(GENERATOR_LEGACY);
    policy["digests"] = Value::Object(digests);
    policy["keyrings"] = Value::Object(keyrings);
    Converted { policy, notices }
}

fn convert_json_allowlist(mut members: Map<String, Value>) -> Result<Converted, ConversionError> {
    let has = |key: &str| members.get(key).is_some_and(is_truthy);
    if !has("hashes") {
        return Err(if has("digests") { ConversionError::AlreadyPolicy } else { ConversionError::NoDigests });
    }
    let hashes = members.remove("hashes").unwrap_or_default();
    members.insert("digests".to_owned(), hashes);
    let mut notices = vec![ConversionNotice::JsonAllowlist];
    let policy = migrate(members, GENERATOR_LEGACY, LegacySource::Allowlist, &mut notices);
    Ok(Converted { policy, notices })
}

/// An empty policy with the known members of an old document where they hold anything.
fn migrate(
    mut old: Map<String, Value>,
    generator: u8,
    source: LegacySource,
    notices: &mut Vec<ConversionNotice>,
) -> Value {
    let mut policy = empty_policy();
    let Some(members) = policy.as_object_mut() else { return policy };
    for (member, value) in members.iter_mut().filter(|(member, _)| *member != "meta") {
        match old.remove(member).filter(is_truthy) {
            Some(known) => *value = known,
            None => notices.push(ConversionNotice::Default { member: member.clone(), source }),
        }
    }
    policy["meta"]["generator"] = json!(generator);
    policy
}

impl fmt::Display for ConversionNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JsonAllowlist => f.write_str("appears to be JSON-formatted; converting to IMA policy"),
            Self::FlatAllowlist => {
                f.write_str("is not JSON-formatted; attempting to convert to IMA policy from flat file format")
            }
            Self::SkippedLine { line, text } => {
                write!(f, "Line #{line} in Allowlist does not consist of hash and file path: {text}")
            }
            Self::Default { member, source } => {
                let source = match source {
                    LegacySource::Allowlist => "allowlist",
                    LegacySource::Policy => "existing IMA policy",
                };
                write!(f, "IMA policy field '{member}' not found in {source}; using default value")
            }
            Self::Updated { version } => write!(
                f,
                "Provided policy has version {version}; latest policy has version {CURRENT_VERSION}. Updating to latest version."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn flat_lines_become_digests_and_key_rings() {
        let text = "aa  /usr/bin/a\nbb /usr/bin/a b\n\n  cc\t /c  \r\nonlyhash\ndd /usr/bin/a\nee %keyring:.ima\n# comment line\n";
        let converted = convert_allowlist(text).unwrap();
        let policy = converted.policy;
        assert_eq!(
            policy["digests"],
            json!({"/usr/bin/a": ["aa", "dd"], "/usr/bin/a b": ["bb"], "/c": ["cc"], "comment line": ["#"]})
        );
        assert_eq!(policy["keyrings"], json!({".ima": ["ee"]}));
        assert_eq!(policy["meta"], json!({"version": 1, "generator": 3}));
        let notices: Vec<String> = converted.notices.iter().map(ToString::to_string).collect();
        assert_eq!(notices[1..], ["Line #4 in Allowlist does not consist of hash and file path: onlyhash"]);
    }

    #[test]
    fn json_allowlists_keep_their_known_members() {
        let text = r#"{"meta":{"version":1},"release":0,"hashes":{"/x":["aa"]},"keyrings":{".ima":["bb"]},
            "ima":{"ignored_keyrings":["k"],"log_hash_alg":"sha256"},"other":1}"#;
        let converted = convert_allowlist(text).unwrap();
        assert_eq!(converted.policy["digests"], json!({"/x": ["aa"]}));
        assert_eq!(converted.policy["ima"], json!({"ignored_keyrings": ["k"], "log_hash_alg": "sha256"}));
        assert!(converted.policy.get("other").is_none());
        let notices: Vec<String> = converted.notices[1..].iter().map(ToString::to_string).collect();
        let expected = ["release", "excludes", "ima-buf", "verification-keys"]
            .map(|member| format!("IMA policy field '{member}' not found in allowlist; using default value"));
        assert_eq!(notices, expected);
    }

    #[test]
    fn what_is_no_allowlist_is_refused() {
        for (text, error) in [
            ("[]", ConversionError::NotObject),
            ("1", ConversionError::NotObject),
            ("{}", ConversionError::NoDigests),
            (r#"{"hashes":{}}"#, ConversionError::NoDigests),
            (r#"{"digests":{"/a":["00"]}}"#, ConversionError::AlreadyPolicy),
        ] {
            assert_eq!(convert_allowlist(text), Err(error), "{text}");
        }
    }

    #[test]
    fn only_old_policies_are_updated() {
        let old = json!({"meta": {"version": 0}, "digests": {"/x": ["aa"]}, "excludes": ["/t"], "foo": 1});
        let updated = update_policy(old).unwrap();
        assert_eq!(updated.policy["meta"], json!({"version": 1, "generator": 2}));
        assert_eq!(updated.policy["excludes"], json!(["/t"]));
        assert!(updated.policy.get("foo").is_none());
        let current = json!({"meta": {"version": 1.0}, "foo": 1});
        assert_eq!(update_policy(current.clone()), Ok(Converted { policy: current, notices: vec![] }));
        for none in [json!({}), json!([]), json!({"meta": {"version": "1"}})] {
            assert_eq!(update_policy(none), Err(ConversionError::NoVersion));
        }
    }

    #[test]
    fn excludes_and_keys_are_appended() {
        let mut policy = empty_policy();
        add_excludes(&mut policy, "# comment\n/tmp/.*\r\n\n  /var/log  \n/opt\n/opt\n");
        assert_eq!(policy["excludes"], json!(["/tmp/.*", "/var/log", "/opt", "/opt"]));
        assert!(matches!(add_verification_key(&mut policy, b"no key"), Err(ConversionError::Key(_))));
        assert_eq!(policy["verification-keys"], "");
        policy["verification-keys"] = json!("{}");
        assert!(matches!(add_verification_key(&mut policy, b"no key"), Err(ConversionError::Keyring(_))));
    }

    proptest! {
        #[test]
        fn any_text_is_converted_or_refused(text in "\\PC{0,40}(\n[0-9a-f]{4} (%keyring:)?\\PC{0,9}){0,5}") {
            if let Ok(converted) = convert_allowlist(&text) {
                prop_assert!(converted.policy["digests"].is_object());
            }
        }
    }
}
