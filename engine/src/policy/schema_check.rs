//! The schema of runtime policies and key rings, with the messages Keylime answers (`runtime-policy.md` §1, §3).
//!
//! Keylime validates with the Python package jsonschema and shows the first line of its best error: the one nearest to the
//! root, among equally near ones the one with the greatest path, among errors of one place the first. The functions here
//! find the same one.

use super::python_repr::{repr, repr_str};
use serde_json::{Map, Value};

/// The best error of a document that violates its schema: the message Keylime shows, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaViolation {
    /// Keylime's text.
    pub message: String,
    /// The place in the document, as a JSON pointer (RFC 6901); empty for the document itself.
    pub pointer: String,
}

/// Checks a runtime policy.
///
/// # Errors
/// The [`SchemaViolation`] that Keylime reports.
pub fn check_runtime_policy(policy: &Value) -> Result<(), SchemaViolation> {
    let mut check = Check::default();
    check.runtime_policy(policy);
    check.finish()?;
    let keys = policy.get("verification-keys").and_then(Value::as_str).unwrap_or_default();
    if keys.is_empty() {
        return Ok(());
    }
    let place = |message| SchemaViolation { message, pointer: "/verification-keys".to_owned() };
    let keyring: Value =
        serde_json::from_str(keys).map_err(|e| place(format!("verification-keys is not JSON: {e}")))?;
    check_keyring(&keyring).map_err(|violation| place(violation.message))
}

/// Checks a key ring.
///
/// # Errors
/// The [`SchemaViolation`] that Keylime reports.
pub fn check_keyring(keyring: &Value) -> Result<(), SchemaViolation> {
    let mut check = Check::default();
    if let Some(members) = check.object(keyring, &["keyids", "pubkeys"]) {
        check.at("meta", members, |check, meta| {
            if let Some(meta) = check.object(meta, &["version"]) {
                check.at("version", meta, |check, version| check.integer(version, 1, None));
            }
        });
        check.at("keyids", members, |check, ids| check.items(ids, |check, id| check.integer(id, i128::MIN, None)));
        check.at("pubkeys", members, |check, keys| check.items(keys, Check::string));
    }
    check.finish()
}

/// Name of the lower bound of `meta.generator` in messages.
const GENERATOR_MIN: &str = "<RUNTIME_POLICY_GENERATOR.Unknown: 0>";

/// Upper bound of `meta.generator` with the name it has in messages.
const GENERATOR_MAX: (i128, &str) = (3, "<RUNTIME_POLICY_GENERATOR.LegacyAllowList: 3>");

const REQUIRED: [&str; 8] =
    ["meta", "release", "digests", "excludes", "keyrings", "ima", "ima-buf", "verification-keys"];

const LOG_HASHES: [&str; 4] = ["sha1", "sha256", "sha384", "sha512"];

/// Whether a text is a digest by the schema: 40 to 128 lower-case hexadecimal digits, one line feed may follow.
fn is_schema_digest(text: &str) -> bool {
    let digits = text.strip_suffix('\n').unwrap_or(text);
    (40..=128).contains(&digits.len()) && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step<'v> {
    Index(usize),
    Key(&'v str),
}

#[derive(Default)]
struct Check<'v> {
    path: Vec<Step<'v>>,
    best: Option<(Vec<Step<'v>>, String)>,
}

impl<'v> Check<'v> {
    fn runtime_policy(&mut self, policy: &'v Value) {
        let Some(members) = self.object(policy, &REQUIRED) else { return };
        self.at("meta", members, |check, meta| {
            if let Some(meta) = check.object(meta, &["version", "generator"]) {
                check.at("version", meta, |check, version| check.integer(version, 0, None));
                check.at("generator", meta, |check, generator| check.integer(generator, 0, Some(GENERATOR_MAX)));
                check.at("timestamp", meta, Check::string);
            }
        });
        self.at("release", members, |check, release| check.integer(release, 0, None));
        for table in ["digests", "keyrings", "ima-buf"] {
            self.at(table, members, Check::digest_table);
        }
        self.at("excludes", members, |check, list| check.items(list, Check::string));
        self.at("ima", members, |check, ima| {
            if let Some(ima) = check.object(ima, &["ignored_keyrings", "log_hash_alg", "dm_policy"]) {
                check.at("ignored_keyrings", ima, |check, list| check.items(list, Check::string));
                check.at("log_hash_alg", ima, Check::log_hash);
                check.at("dm_policy", ima, |check, value| check.expect(value.is_null(), value, "null"));
            }
        });
        self.at("verification-keys", members, Check::string);
    }

    fn finish(self) -> Result<(), SchemaViolation> {
        let Some((path, message)) = self.best else { return Ok(()) };
        let pointer = path
            .iter()
            .map(|step| match step {
                Step::Index(index) => format!("/{index}"),
                Step::Key(key) => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            })
            .collect();
        Err(SchemaViolation { message, pointer })
    }

    fn fail(&mut self, message: impl FnOnce() -> String) {
        let better = self.best.as_ref().is_none_or(|(best, _)| {
            self.path.len() < best.len() || (self.path.len() == best.len() && self.path > *best)
        });
        if better {
            self.best = Some((self.path.clone(), message()));
        }
    }

    fn expect(&mut self, holds: bool, value: &Value, kind: &str) {
        if !holds {
            self.fail(|| format!("{} is not of type '{kind}'", repr(value)));
        }
    }

    fn object(&mut self, value: &'v Value, required: &[&str]) -> Option<&'v Map<String, Value>> {
        self.expect(value.is_object(), value, "object");
        let members = value.as_object()?;
        for key in required {
            if !members.contains_key(*key) {
                self.fail(|| format!("{} is a required property", repr_str(key)));
            }
        }
        Some(members)
    }

    fn at(&mut self, key: &str, members: &'v Map<String, Value>, check: impl FnOnce(&mut Self, &'v Value)) {
        if let Some((key, value)) = members.get_key_value(key) {
            self.path.push(Step::Key(key));
            check(self, value);
            self.path.pop();
        }
    }

    fn items(&mut self, value: &'v Value, mut check: impl FnMut(&mut Self, &'v Value)) {
        self.expect(value.is_array(), value, "array");
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            self.path.push(Step::Index(index));
            check(self, item);
            self.path.pop();
        }
    }

    fn string(&mut self, value: &'v Value) {
        self.expect(value.is_string(), value, "string");
    }

    fn integer(&mut self, value: &Value, minimum: i128, maximum: Option<(i128, &str)>) {
        let number = value.as_f64().filter(|_| value.is_number());
        self.expect(number.is_some_and(|n| n.fract() == 0.0), value, "integer");
        let Some(number) = number else { return };
        #[allow(clippy::cast_precision_loss, reason = "the bounds are small or the smallest number of all")]
        if number < minimum as f64 {
            // The bounded number is the generator, whose bounds have names.
            let minimum = maximum.map_or_else(|| minimum.to_string(), |_| GENERATOR_MIN.to_owned());
            self.fail(|| format!("{} is less than the minimum of {minimum}", repr(value)));
        }
        #[allow(clippy::cast_precision_loss, reason = "the bound is small")]
        if let Some((maximum, name)) = maximum.filter(|(maximum, _)| number > *maximum as f64) {
            let _ = maximum;
            self.fail(|| format!("{} is greater than the maximum of {name}", repr(value)));
        }
    }

    fn log_hash(&mut self, value: &'v Value) {
        self.string(value);
        if !value.as_str().is_some_and(|name| LOG_HASHES.contains(&name)) {
            self.fail(|| format!("{} is not one of ['sha1', 'sha256', 'sha384', 'sha512']", repr(value)));
        }
    }

    fn digest_table(&mut self, table: &'v Value) {
        let Some(members) = self.object(table, &[]) else { return };
        for (key, list) in members {
            self.path.push(Step::Key(key));
            self.items(list, |check, digest| {
                check.string(digest);
                if digest.as_str().is_some_and(|text| !is_schema_digest(text)) {
                    check.fail(|| format!("{} does not match '^[0-9a-f]{{40,128}}$'", repr(digest)));
                }
            });
            if list.as_array().is_some_and(Vec::is_empty) {
                self.fail(|| "[] should be non-empty".to_owned());
            }
            self.path.pop();
        }
    }
}
