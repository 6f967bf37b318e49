//! What a runtime policy holds, and what in it can never match or takes the effect of something else (`ima.md` §6).
//!
//! For the authors of policies: a policy with findings is a policy nonetheless. Reading is as tolerant as appraisal is.

use super::compiled_policy::exclude_regex;
use super::python_regex::PythonRegex;
use super::runtime_policy::{PolicyError, SignatureRule, check_schema, read_json, verify_document};
use crate::ima::keyring::Keyring;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fmt;

/// Most findings that are listed; the rest is counted.
pub const MAX_FINDINGS: usize = 1000;

/// Longest text of a policy that a finding repeats, in bytes.
const MAX_TEXT_BYTES: usize = 256;

/// Lengths of the digests Linux can measure, in bytes: MD5, SHA-1, SHA-224, SHA-256 and SM3, SHA-384, SHA-512.
const DIGEST_LENGTHS: [usize; 6] = [16, 20, 28, 32, 48, 64];

/// A report on one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLint {
    /// What the policy holds.
    pub holds: Holdings,
    /// What its author should look at, in the order of the policy.
    pub findings: Vec<Finding>,
    /// Findings beyond [`MAX_FINDINGS`].
    pub omitted: usize,
}

/// Numbers of things in a policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are the members of runtime-policy.md §1")]
pub struct Holdings {
    pub generator: i64,
    pub log_hash_alg: String,
    pub paths: usize,
    pub digests: usize,
    pub keyrings: usize,
    pub buffers: usize,
    pub excludes: usize,
    pub ignored_keyrings: usize,
    pub verification_keys: usize,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Nothing is judged wrongly; something is superfluous.
    Note,
    /// Something the author wrote has no effect, or more effect than it seems.
    Warning,
    /// A verifier refuses the policy or ignores a part of it.
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A verifier refuses the policy for this.
    Schema(String),
    /// The exclude list does not compile: a verifier refuses the policy, one that has it stored ignores the whole list.
    BadExcludes(String),
    /// A pattern matches every name, so that no file is judged at all.
    ExcludesEverything(String),
    /// A pattern occurs more than once.
    RepeatedExclude(String),
    /// A listed digest that no entry can have.
    UnmatchableDigest {
        /// `digests`, `keyrings` or `ima-buf`.
        table: &'static str,
        /// Path or name.
        name: String,
        /// The element.
        element: String,
        /// Why nothing matches it.
        reason: Unmatchable,
    },
    /// A name with a line feed or a zero byte, which no entry has.
    UnmatchableName {
        /// `digests`, `keyrings` or `ima-buf`.
        table: &'static str,
        /// The name.
        name: String,
    },
    /// A list without digests, so that every entry of the name fails.
    EmptyList {
        /// `digests`, `keyrings` or `ima-buf`.
        table: &'static str,
        /// The name.
        name: String,
    },
    /// A list that holds a digest more than once.
    RepeatedDigest {
        /// `digests`, `keyrings` or `ima-buf`.
        table: &'static str,
        /// The name.
        name: String,
    },
    /// The name is excluded, so that its digests do not matter.
    ExcludedName {
        /// `digests`, `keyrings` or `ima-buf`.
        table: &'static str,
        /// The name.
        name: String,
    },
    /// Keys measured into the ring are ignored, so that its digests do not matter.
    IgnoredKeyring(String),
    /// Members of `verification-keys` that are no RSA or EC public key.
    UnusableKeys(usize),
    /// `verification-keys` is no key ring.
    UnusableKeyring(String),
}

/// Why no entry has a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmatchable {
    /// Not a text.
    NotText,
    /// With the name of an algorithm before it.
    Prefix,
    /// With capital letters.
    UpperCase,
    /// Something else than pairs of hexadecimal digits.
    NotHexadecimal,
    /// As long as no digest is.
    Length,
}

/// Reports on a policy or on the policy in an envelope, whose signatures are not verified.
///
/// # Errors
/// [`PolicyError`] when the text holds no policy at all.
pub fn lint(text: &str) -> Result<PolicyLint, PolicyError> {
    let (document, bad_excludes) = match verify_document(text, None, SignatureRule::NotRequired) {
        Ok(document) => (document, None),
        Err(PolicyError::BadRegex(bad)) => (read_despite_excludes(text)?, Some(bad.to_string())),
        Err(error) => return Err(error),
    };
    let mut report = Report::new(&document);
    if let Err(PolicyError::Malformed(violation)) = check_schema(&document) {
        report.find(Finding::Schema(violation));
    }
    report.excludes(bad_excludes);
    for table in TABLES {
        report.table(table);
    }
    report.verification_keys();
    Ok(report.lint)
}

const TABLES: [&str; 3] = ["digests", "keyrings", "ima-buf"];

fn read_despite_excludes(text: &str) -> Result<Value, PolicyError> {
    let outer = read_json(text.as_bytes())?;
    if !super::runtime_policy::is_envelope(&outer) {
        return Ok(outer);
    }
    let payload = super::dsse::payload(&outer).map_err(|error| PolicyError::Malformed(error.to_string()))?;
    read_json(&payload)
}

struct Report<'d> {
    document: &'d Value,
    excludes: Option<PythonRegex>,
    lint: PolicyLint,
}

impl<'d> Report<'d> {
    fn new(document: &'d Value) -> Self {
        let count = |pointer: &str| document.pointer(pointer).map_or(0, length);
        let digests = members(document, "digests").into_iter().flat_map(Map::values).map(length).sum();
        let holds = Holdings {
            generator: document.pointer("/meta/generator").and_then(Value::as_i64).unwrap_or_default(),
            log_hash_alg: clipped(document.pointer("/ima/log_hash_alg").and_then(Value::as_str).unwrap_or_default()),
            paths: count("/digests"),
            digests,
            keyrings: count("/keyrings"),
            buffers: count("/ima-buf"),
            excludes: count("/excludes"),
            ignored_keyrings: count("/ima/ignored_keyrings"),
            verification_keys: 0,
        };
        Self { document, excludes: None, lint: PolicyLint { holds, findings: Vec::new(), omitted: 0 } }
    }

    fn find(&mut self, finding: Finding) {
        if self.lint.findings.len() < MAX_FINDINGS {
            self.lint.findings.push(finding);
        } else {
            self.lint.omitted += 1;
        }
    }

    fn excludes(&mut self, bad: Option<String>) {
        let patterns = texts(self.document.get("excludes"));
        match bad {
            Some(reason) => self.find(Finding::BadExcludes(reason)),
            None => self.excludes = exclude_regex(&patterns).ok().flatten(),
        }
        let mut seen = HashSet::new();
        for pattern in patterns {
            if !seen.insert(pattern) {
                self.find(Finding::RepeatedExclude(clipped(pattern)));
            }
            // A name no rule of an operator is about: what matches it matches all.
            let matches = |name: &str| PythonRegex::prefix_match(pattern).is_ok_and(|regex| regex.is_match(name));
            if ["", "/\u{1}", "boot_aggregate"].into_iter().all(matches) {
                self.find(Finding::ExcludesEverything(clipped(pattern)));
            }
        }
    }

    fn table(&mut self, table: &'static str) {
        let ignored = texts(self.document.pointer("/ima/ignored_keyrings"));
        for (key, list) in members(self.document, table).into_iter().flatten() {
            let name = clipped(key);
            if key.contains(['\n', '\0']) {
                self.find(Finding::UnmatchableName { table, name });
                continue;
            }
            if self.excludes.as_ref().is_some_and(|regex| regex.is_match(key)) {
                self.find(Finding::ExcludedName { table, name: name.clone() });
            } else if table == "keyrings" && ignored.iter().any(|ring| *ring == "*" || ring == key) {
                self.find(Finding::IgnoredKeyring(name.clone()));
            }
            self.list(table, &name, list);
        }
    }

    fn list(&mut self, table: &'static str, name: &str, list: &Value) {
        let elements = list.as_array().map(Vec::as_slice).unwrap_or_default();
        if elements.is_empty() {
            self.find(Finding::EmptyList { table, name: name.to_owned() });
        }
        let mut seen = HashSet::new();
        let mut repeated = false;
        for element in elements {
            repeated |= element.as_str().is_some_and(|text| !seen.insert(text));
            if let Some(reason) = unmatchable(element) {
                let element = element.as_str().map_or_else(|| super::python_repr::repr(element), clipped);
                let name = name.to_owned();
                self.find(Finding::UnmatchableDigest { table, name, element: clipped(&element), reason });
            }
        }
        if repeated {
            self.find(Finding::RepeatedDigest { table, name: name.to_owned() });
        }
    }

    fn verification_keys(&mut self) {
        let text = self.document.get("verification-keys").and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() {
            return;
        }
        let keyring = match Keyring::from_json(text) {
            Ok(Some(keyring)) => keyring,
            Ok(None) => return self.find(Finding::UnusableKeyring("it violates the schema".to_owned())),
            Err(error) => return self.find(Finding::UnusableKeyring(error.to_string())),
        };
        self.lint.holds.verification_keys = keyring.len();
        let listed = serde_json::from_str::<Value>(text).ok().and_then(|ring| ring.get("pubkeys").map(length));
        let unusable = listed.unwrap_or(0).saturating_sub(keyring.len());
        if unusable > 0 {
            self.find(Finding::UnusableKeys(unusable));
        }
    }
}

fn unmatchable(element: &Value) -> Option<Unmatchable> {
    let Some(text) = element.as_str() else { return Some(Unmatchable::NotText) };
    let is_hexadecimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hexadecimal {
        return Some(if text.contains(':') { Unmatchable::Prefix } else { Unmatchable::NotHexadecimal });
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Unmatchable::UpperCase);
    }
    if !text.len().is_multiple_of(2) || !DIGEST_LENGTHS.contains(&(text.len() / 2)) {
        return Some(Unmatchable::Length);
    }
    None
}

fn members<'d>(document: &'d Value, table: &str) -> Option<&'d Map<String, Value>> {
    document.get(table).and_then(Value::as_object)
}

fn texts(list: Option<&Value>) -> Vec<&str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn length(value: &Value) -> usize {
    value.as_array().map_or_else(|| value.as_object().map_or(0, Map::len), Vec::len)
}

fn clipped(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT_BYTES)].to_owned()
}

impl Finding {
    /// How much it matters.
    #[must_use]
    pub fn weight(&self) -> Weight {
        match self {
            Self::Schema(_) | Self::BadExcludes(_) | Self::UnusableKeyring(_) => Weight::Error,
            Self::ExcludesEverything(_)
            | Self::UnmatchableDigest { .. }
            | Self::UnmatchableName { .. }
            | Self::EmptyList { .. }
            | Self::UnusableKeys(_) => Weight::Warning,
            Self::RepeatedExclude(_)
            | Self::RepeatedDigest { .. }
            | Self::ExcludedName { .. }
            | Self::IgnoredKeyring(_) => Weight::Note,
        }
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl fmt::Display for Unmatchable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotText => "it is no text",
            Self::Prefix => "digests are listed without the name of their algorithm",
            Self::UpperCase => "digests are compared in lower case",
            Self::NotHexadecimal => "it is not hexadecimal",
            Self::Length => "no digest has this length",
        })
    }
}

impl fmt::Display for Finding {
    /// What is there and what follows from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schema(violation) => write!(f, "a verifier refuses the policy: {violation}"),
            Self::BadExcludes(reason) => write!(f, "excludes cannot be used: {reason}"),
            Self::ExcludesEverything(pattern) => {
                write!(f, "the pattern {pattern:?} in excludes matches every name: no file is judged")
            }
            Self::RepeatedExclude(pattern) => write!(f, "the pattern {pattern:?} is in excludes more than once"),
            Self::UnmatchableDigest { table, name, element, reason } => {
                write!(f, "{element:?} of {name:?} in {table} can never match: {reason}")
            }
            Self::UnmatchableName { table, name } => {
                write!(f, "{name:?} in {table} can never match: measured names have no line feeds and no zero bytes")
            }
            Self::EmptyList { table, name } => {
                write!(f, "{name:?} in {table} lists no digest: every entry of this name fails")
            }
            Self::RepeatedDigest { table, name } => write!(f, "{name:?} in {table} lists a digest more than once"),
            Self::ExcludedName { table, name } => {
                write!(f, "{name:?} in {table} is excluded: its digests do not matter")
            }
            Self::IgnoredKeyring(name) => {
                write!(f, "{name:?} in keyrings is an ignored key ring: its digests do not matter")
            }
            Self::UnusableKeys(count) => {
                write!(f, "{count} of verification-keys cannot be used: repeated, or not RSA or EC public keys in DER")
            }
            Self::UnusableKeyring(reason) => write!(f, "verification-keys cannot be used: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::runtime_policy::empty_policy;
    use serde_json::json;

    fn findings(policy: &Value) -> Vec<String> {
        lint(&policy.to_string()).unwrap().findings.iter().map(|f| format!("{}: {f}", f.weight())).collect()
    }

    #[test]
    fn a_clean_policy_has_none() {
        let mut policy = empty_policy();
        policy["digests"] = json!({"/a": ["00".repeat(32), "11".repeat(20)], "boot_aggregate": ["22".repeat(48)]});
        policy["excludes"] = json!(["/tmp/.*"]);
        let lint = lint(&policy.to_string()).unwrap();
        assert_eq!(lint.findings, []);
        assert_eq!((lint.holds.paths, lint.holds.digests, lint.holds.excludes), (2, 3, 1));
        assert_eq!(lint.holds.log_hash_alg, "sha1");
    }

    #[test]
    fn what_can_never_match_is_named() {
        let mut policy = empty_policy();
        policy["digests"] = json!({
            "/p": [format!("sha256:{}", "00".repeat(32))],
            "/u": ["AA".repeat(32)],
            "/x": ["zz"],
            "/l": ["00".repeat(33)],
            "/e": [],
            "/n\nb": ["00".repeat(32)],
            "/tmp/a": ["00".repeat(32)],
            "/r": ["00".repeat(32), "00".repeat(32)],
        });
        policy["keyrings"] = json!({".ima": ["00".repeat(32)]});
        policy["excludes"] = json!(["/tmp/", "/tmp/"]);
        policy["ima"]["ignored_keyrings"] = json!(["*"]);
        policy["verification-keys"] = json!(r#"{"pubkeys": ["QUJD"], "keyids": [1]}"#);
        let found = findings(&policy).join("\n");
        for expected in [
            "error: a verifier refuses the policy: ",
            "note: the pattern \"/tmp/\" is in excludes more than once",
            "digests are listed without the name of their algorithm",
            "warning: \"zz\" of \"/x\" in digests can never match: it is not hexadecimal",
            "digests are compared in lower case",
            "no digest has this length",
            "warning: \"/e\" in digests lists no digest: every entry of this name fails",
            "warning: \"/n\\nb\" in digests can never match",
            "note: \"/tmp/a\" in digests is excluded",
            "note: \"/r\" in digests lists a digest more than once",
            "note: \".ima\" in keyrings is an ignored key ring",
            "warning: 1 of verification-keys cannot be used",
        ] {
            assert!(found.contains(expected), "{expected}\n{found}");
        }
    }

    #[test]
    fn excludes_that_do_too_much_or_nothing_are_named() {
        let mut policy = empty_policy();
        policy["excludes"] = json!([".*", "("]);
        let found = findings(&policy).join("\n");
        assert!(found.contains("error: excludes cannot be used: "), "{found}");
        assert!(found.contains("warning: the pattern \".*\" in excludes matches every name"), "{found}");
    }

    #[test]
    fn findings_are_bounded() {
        let mut policy = empty_policy();
        policy["digests"] = json!({ "/a": vec!["zz"; 3000] });
        let lint = lint(&policy.to_string()).unwrap();
        assert_eq!(lint.findings.len(), MAX_FINDINGS);
        assert!(lint.omitted >= 2000);
        assert_eq!(super::lint("[]"), Err(PolicyError::Malformed("[] is not of type 'object'".to_owned())));
    }
}
