//! Results of `POST /v2.x/verify/evidence` (`evidence-and-tee.md` §1).

use keylime_engine::evidence::presented::MissingInput;
use keylime_engine::verdict::Failures;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Whether presented evidence is valid, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceReply {
    /// The answer.
    pub valid: Validity,
    /// The `data` of the request when it is valid, else an empty object.
    pub claims: Value,
    /// What is wrong, in the order in which it was found.
    pub failures: Vec<EvidenceFailure>,
}

/// The answer as the version of the interface spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Validity {
    /// Every version but 2.4.
    Boolean(bool),
    /// Version 2.4: 1 or 0.
    Number(u8),
}

/// How a version of the interface spells [`Validity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValiditySpelling {
    /// `true` and `false`.
    Boolean,
    /// 1 and 0.
    Number,
}

impl ValiditySpelling {
    /// The spelling of valid evidence.
    #[must_use]
    pub fn valid(self) -> Validity {
        match self {
            Self::Boolean => Validity::Boolean(true),
            Self::Number => Validity::Number(1),
        }
    }

    /// The spelling of evidence that is not valid.
    #[must_use]
    pub fn invalid(self) -> Validity {
        match self {
            Self::Boolean => Validity::Boolean(false),
            Self::Number => Validity::Number(0),
        }
    }
}

/// One failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceFailure {
    /// Keylime's event id.
    #[serde(rename = "type")]
    pub event_id: String,
    /// What was found.
    pub context: Value,
}

impl EvidenceReply {
    /// The answer about valid evidence; `data` is what was presented.
    #[must_use]
    pub fn valid(spelling: ValiditySpelling, data: Value) -> Self {
        Self { valid: spelling.valid(), claims: data, failures: Vec::new() }
    }

    /// The answer about evidence with failures.
    #[must_use]
    pub fn invalid(spelling: ValiditySpelling, failures: &Failures) -> Self {
        let failures = failures.as_slice().iter();
        let failures = failures.map(|f| EvidenceFailure { event_id: f.event_id(), context: f.context() }).collect();
        Self { valid: spelling.invalid(), claims: Value::Object(Map::new()), failures }
    }

    /// The answer about evidence that lacks something.
    #[must_use]
    pub fn missing(spelling: ValiditySpelling, missing: MissingInput) -> Self {
        let failure = EvidenceFailure { event_id: missing.event_id().to_owned(), context: missing.context() };
        Self { valid: spelling.invalid(), claims: Value::Object(Map::new()), failures: vec![failure] }
    }
}
