//! A runtime policy in the form appraisal uses: compiled once, shared by all agents that use it.

use super::digest_table::DigestTable;
use super::policy_document::PolicyDocument;
use super::python_regex::PythonRegex;
use super::runtime_policy::PolicyError;
use crate::algorithm::HashAlgorithm;
use crate::ima::device_mapper::DeviceMapperPolicy;
use crate::ima::keyring::Keyring;
use serde_json::Value;
use std::fmt;

/// A runtime policy ready for look-ups.
#[derive(Debug, Clone)]
pub struct CompiledRuntimePolicy {
    pub(crate) presence: Presence,
    pub(crate) digests: DigestTable,
    pub(crate) keyrings: DigestTable,
    pub(crate) buffers: DigestTable,
    pub(crate) log_hash: HashAlgorithm,
    pub(crate) device_mapper: Option<DeviceMapperPolicy>,
    ignored_keyrings: Vec<String>,
    excludes: Option<PythonRegex>,
    bad_exclude: Option<BadExclude>,
    verification_keyring: Option<Keyring>,
    generator: i64,
}

/// Whether there is a policy at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Entries are judged by it.
    Given,
    /// Entries are only checked for consistency.
    Absent,
}

/// Why the patterns of an exclude list do not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadExclude {
    /// The first pattern that does not compile by itself; `None` when only their combination does not.
    pub pattern: Option<String>,
    /// What Python's compiler says.
    pub reason: String,
}

impl fmt::Display for BadExclude {
    /// What Python's compiler says, with the pattern it says it about.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pattern {
            Some(pattern) => write!(f, "{} in the pattern {pattern:?}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl CompiledRuntimePolicy {
    /// Compiles the stored text of a policy: JSON, an envelope around it (which is not verified again), or nothing.
    ///
    /// A policy whose exclude list does not compile is taken without it, as Keylime does; [`bad_exclude`](Self::bad_exclude)
    /// tells.
    ///
    /// # Errors
    /// [`PolicyError`] when the text is no policy or lacks what appraisal needs.
    pub fn compile(text: &str) -> Result<Self, PolicyError> {
        let Some(document) = PolicyDocument::read(text)? else { return Ok(Self::empty()) };
        Self::from_document(document)
    }

    /// As [`compile`](Self::compile), without `verification-keys`: evidence that is presented once is judged by digests alone,
    /// so keys that cannot be read are nobody's failure (`ima.md` §8.4).
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn compile_without_keys(text: &str) -> Result<Self, PolicyError> {
        let Some(mut document) = PolicyDocument::read(text)? else { return Ok(Self::empty()) };
        document.verification_keys.clear();
        Self::from_document(document)
    }

    /// The policy that allows nothing: every entry that is not vouched for by a signature fails.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            presence: Presence::Given,
            digests: DigestTable::default(),
            keyrings: DigestTable::default(),
            buffers: DigestTable::default(),
            log_hash: HashAlgorithm::Sha1,
            device_mapper: None,
            ignored_keyrings: Vec::new(),
            excludes: None,
            bad_exclude: None,
            verification_keyring: None,
            generator: 1,
        }
    }

    /// No policy object at all: a list is checked for consistency and signatures, and nothing needs to be listed.
    ///
    /// The verifier never appraises with it; an agent without policy has the [empty](Self::empty) one. It exists for the
    /// tools that check a list by itself.
    #[must_use]
    pub fn absent() -> Self {
        Self { presence: Presence::Absent, ..Self::empty() }
    }

    /// Keys that verify file signatures, if the policy brings any.
    #[must_use]
    pub fn verification_keyring(&self) -> Option<&Keyring> {
        self.verification_keyring.as_ref()
    }

    /// `meta.generator`.
    #[must_use]
    pub fn generator(&self) -> i64 {
        self.generator
    }

    /// Bytes on the heap, without compiled patterns.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.digests.memory_bytes()
            + self.keyrings.memory_bytes()
            + self.buffers.memory_bytes()
            + self.ignored_keyrings.iter().map(|name| name.capacity() + size_of::<String>()).sum::<usize>()
            + self.verification_keyring.as_ref().map_or(0, Keyring::memory_bytes)
    }

    /// Why the exclude list is left aside, if it is.
    #[must_use]
    pub fn bad_exclude(&self) -> Option<&BadExclude> {
        self.bad_exclude.as_ref()
    }

    /// Whether the exclude list matches a name.
    pub(crate) fn excludes(&self, name: &str) -> bool {
        self.excludes.as_ref().is_some_and(|regex| regex.is_match(name))
    }

    /// Whether keys measured into this ring are neither checked nor learned.
    pub(crate) fn ignores_keyring(&self, name: &str) -> bool {
        self.ignored_keyrings.iter().any(|ignored| ignored == "*" || ignored == name)
    }

    fn from_document(document: PolicyDocument) -> Result<Self, PolicyError> {
        let missing = |key: &str| PolicyError::Malformed(format!("'{key}' is a required property"));
        let ima = document.ima.ok_or_else(|| missing("ima"))?;
        let log_hash = ima.get("log_hash_alg").ok_or_else(|| missing("log_hash_alg"))?;
        let dm_policy = ima.get("dm_policy").ok_or_else(|| missing("dm_policy"))?;
        let device_mapper = match dm_policy {
            Value::Null => None,
            policy => Some(
                DeviceMapperPolicy::from_json(policy)
                    .map_err(|e| PolicyError::Malformed(format!("ima.dm_policy: {e}")))?,
            ),
        };
        let patterns: Vec<&str> = document.excludes.iter().map(String::as_str).collect();
        let (excludes, bad_exclude) = match exclude_regex(&patterns) {
            Ok(regex) => (regex, None),
            Err(bad) => (None, Some(bad)),
        };
        let verification_keyring = Keyring::from_json(&document.verification_keys)
            .map_err(|e| PolicyError::Malformed(format!("verification-keys: {e}")))?;
        let ignored = ima.get("ignored_keyrings").and_then(Value::as_array).into_iter().flatten();
        Ok(Self {
            presence: Presence::Given,
            digests: document.digests,
            keyrings: document.keyrings,
            buffers: document.buffers,
            log_hash: log_hash.as_str().and_then(HashAlgorithm::from_name).unwrap_or(HashAlgorithm::Sha1),
            device_mapper,
            ignored_keyrings: ignored.filter_map(|name| name.as_str().map(str::to_owned)).collect(),
            excludes,
            bad_exclude,
            verification_keyring,
            generator: document.generator,
        })
    }
}

/// Compiles an exclude list as Keylime combines it: each pattern in a group of its own, the groups as alternatives.
///
/// # Errors
/// [`BadExclude`] naming the pattern at fault.
pub(crate) fn exclude_regex(patterns: &[&str]) -> Result<Option<PythonRegex>, BadExclude> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let combined = format!("({})", patterns.join(")|("));
    PythonRegex::prefix_match(&combined).map(Some).map_err(|error| {
        let single = patterns.iter().find_map(|pattern| {
            let error = PythonRegex::prefix_match(pattern).err()?;
            Some(BadExclude { pattern: Some((*pattern).to_owned()), reason: error.to_string() })
        });
        single.unwrap_or_else(|| BadExclude { pattern: None, reason: format!("{error} when all patterns are joined") })
    })
}
