//! Failures of a measurement list, with Keylime's ids and contexts (`ima.md` §9) and a sentence for people.

use super::device_mapper::DeviceMapperFailure;
use super::measurement_list::EntryError;
use crate::policy::python_repr::repr_bytes;
use serde_json::{Value, json};
use std::borrow::Cow;

/// What is wrong with a measurement list.
#[derive(Debug, Clone, PartialEq)]
pub enum ImaFailure {
    /// An entry that does not satisfy the policy or cannot be read.
    Entry {
        /// Line of the list that was sent, counted from one.
        line: u64,
        /// File, key ring or event name; empty when the line could not be read.
        name: String,
        /// What is wrong.
        problem: EntryProblem,
    },
    /// No prefix of the list replays to the quoted PCR.
    PcrMismatch {
        /// The quoted value, hexadecimal.
        quoted: String,
    },
    /// The quote lags behind the list and has not caught up since the previous one.
    QuoteProgress {
        /// Line at which the replay reached the quoted value.
        matched: u64,
        /// Entries in the list.
        length: u64,
    },
}

/// What is wrong with one entry.
#[derive(Debug, Clone, PartialEq)]
pub enum EntryProblem {
    /// The line is no entry of a known template.
    Unreadable {
        /// The line, at most [`MAX_TEXT_BYTES`] of it.
        text: String,
        /// Why it cannot be read.
        error: EntryError,
    },
    /// The entry is not for PCR 10.
    OtherPcr {
        /// The PCR it names.
        got: String,
    },
    /// The kernel reports a time-of-measure-time-of-use or open-writers violation.
    Violation,
    /// The template hash is not the hash of the entry's fields.
    TemplateHash {
        /// The hash as logged.
        logged: Vec<u8>,
        /// What it should be the hash of.
        template_data: Vec<u8>,
    },
    /// The policy does not list the name.
    NotInPolicy {
        /// The part of the policy that should.
        table: PolicyTable,
        /// The digest found, hexadecimal.
        got: String,
    },
    /// The policy lists other digests for the name.
    OtherDigest {
        /// The part of the policy that does.
        table: PolicyTable,
        /// The digest found, hexadecimal.
        got: String,
        /// The digests listed, at most [`MAX_EXPECTED`] of them.
        expected: Vec<String>,
    },
    /// The signature does not verify and there is no policy to fall back to.
    InvalidSignature,
    /// A measured key cannot be used.
    InvalidKey {
        /// Why.
        reason: String,
    },
    /// A device-mapper event does not satisfy the device-mapper policy.
    DeviceMapper(DeviceMapperFailure),
}

/// Longest line or data quoted in a failure.
pub const MAX_TEXT_BYTES: usize = 4096;

/// Most digests quoted in a failure.
pub const MAX_EXPECTED: usize = 64;

/// A part of a runtime policy that lists digests by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyTable {
    /// `digests`, by path.
    Digests,
    /// `keyrings`, by key ring.
    Keyrings,
    /// `ima-buf`, by event name.
    Buffers,
}

impl PolicyTable {
    /// The key in the policy.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Digests => "digests",
            Self::Keyrings => "keyrings",
            Self::Buffers => "ima-buf",
        }
    }
}

impl ImaFailure {
    /// The part of the event id after the component.
    #[must_use]
    pub fn id(&self) -> Cow<'static, str> {
        match self {
            Self::Entry { problem, .. } => problem.id(),
            Self::PcrMismatch { .. } => Cow::Borrowed("pcr_mismatch"),
            Self::QuoteProgress { .. } => Cow::Borrowed("quote_progress"),
        }
    }

    /// The context object.
    #[must_use]
    pub fn context(&self) -> Value {
        match self {
            Self::Entry { name, problem, .. } => problem.context(name),
            Self::PcrMismatch { quoted } => {
                json!({ "message": format!("IMA measurement list does not match TPM PCR {quoted}") })
            }
            Self::QuoteProgress { matched, length } => {
                json!({ "message": format!("IMA quote made no progress: it covers {matched} of {length} entries") })
            }
        }
    }

    /// One sentence for people: where it is, what was found and what would make it pass.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Entry { line, name, problem } => problem.detail(*line, name),
            Self::PcrMismatch { quoted } => format!(
                "no part of the measurement list replays to the quoted PCR 10 value {quoted}; the list is incomplete, altered \
                 or does not continue where the last one ended"
            ),
            Self::QuoteProgress { matched, length } => format!(
                "the quote covers {matched} of {length} entries and has not caught up with the entries that were pending \
                 before"
            ),
        }
    }
}

impl EntryProblem {
    /// The id of a line that cannot be read.
    pub(super) const UNREADABLE_ID: &'static str = "parser.entry";

    pub(super) fn id(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Unreadable { .. } => Self::UNREADABLE_ID,
            Self::OtherPcr { .. } => "validation.ima_pcr",
            Self::Violation => "validation.tomtou",
            Self::TemplateHash { .. } => "validation.ima_hash",
            Self::NotInPolicy { .. } => "validation.ima-ng.not_in_allowlist",
            Self::OtherDigest { .. } => "validation.ima-ng.runtime_policy_hash",
            // Keylime's wire spelling: "validator" here, "validation" everywhere else.
            Self::InvalidSignature => "validator.ima-sig.invalid_signature",
            Self::InvalidKey { .. } => "invalid_key",
            Self::DeviceMapper(failure) => return Cow::Owned(format!("validation.dm.{}", failure.id())),
        })
    }

    fn context(&self, name: &str) -> Value {
        match self {
            Self::Unreadable { text, .. } => {
                json!({ "message": format!("Line was not parsable into a valid IMA entry: {text}") })
            }
            Self::OtherPcr { got } => {
                json!({ "message": "IMA PCR is not the configured one", "expected": "10", "got": got })
            }
            Self::Violation => json!({ "message": format!("Entry is a measurement violation: {name}") }),
            Self::TemplateHash { logged, template_data } => json!({
                "message": "IMA template hash does not match the calculated hash.",
                "expected": repr_bytes(logged),
                "got": repr_bytes(template_data),
            }),
            Self::NotInPolicy { .. } => json!({ "message": format!("File not found in allowlist: {name}") }),
            Self::OtherDigest { got, expected, .. } => {
                json!({ "message": "Hash not found in runtime policy", "got": got, "expected": expected })
            }
            Self::InvalidSignature => json!({ "message": format!("Signature validation failed: {name}") }),
            Self::InvalidKey { reason } => json!({ "message": format!("Invalid key in {name}: {reason}") }),
            Self::DeviceMapper(failure) => failure.context(),
        }
    }

    fn detail(&self, line: u64, name: &str) -> String {
        match self {
            Self::Unreadable { error, .. } => format!("line {line}: {error}"),
            Self::OtherPcr { got } => {
                format!("line {line}: {name:?} was measured into PCR {got:?}; only PCR 10 is appraised")
            }
            Self::Violation => format!(
                "line {line}: {name:?} was open for writing while it was measured; exclude it from the IMA policy of the \
                 machine or set ignore_tomtou_errors"
            ),
            Self::TemplateHash { .. } => format!(
                "line {line}: the template hash of {name:?} is not the hash of its fields; the line was altered, or \
                 ima.log_hash_alg of the policy is not the hash the list was written with"
            ),
            Self::NotInPolicy { table, got } => format!(
                "line {line}: {name:?} is not in {:?} of the policy; add its digest {got} or exclude it",
                table.key()
            ),
            Self::OtherDigest { table, got, expected } => format!(
                "line {line}: {name:?} has the digest {got}, {:?} of the policy lists {}; add the digest if this version is \
                 meant to run",
                table.key(),
                expected.join(", ")
            ),
            Self::InvalidSignature => {
                format!("line {line}: {name:?} has no signature by a known key, and no policy lists its digest")
            }
            Self::InvalidKey { reason } => {
                format!("line {line}: the key measured into {name:?} cannot be used: {reason}")
            }
            Self::DeviceMapper(failure) => format!("line {line}: {name}: {}", failure.detail()),
        }
    }
}
