//! Failures of a boot event log, with Keylime's ids and contexts (`measured-boot.md` §1, §2 and §6) and a sentence for people.

use super::event_log::{LogError, LogProblem};
use super::policy::PolicyRejection;
use crate::algorithm::HashAlgorithm;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::fmt::Write as _;

/// What is wrong with a boot event log.
#[derive(Debug, Clone, PartialEq)]
pub enum MeasuredBootFailure {
    /// The log is not base64.
    NotBase64(String),
    /// The log cannot be parsed.
    Malformed(LogError),
    /// The log was parsed, but no event extends a PCR.
    NoPcrs,
    /// No event extends a PCR of the quoted bank.
    NoPcrsInBank(HashAlgorithm),
    /// A quoted value is not the one the log replays to.
    InvalidPcr(Box<PcrMismatch>),
    /// The policy needs PCRs that were not quoted.
    MissingPcrs {
        /// Those PCRs, ascending.
        pcrs: Vec<u8>,
        /// The policy.
        policy: String,
    },
    /// The policy rejects the log.
    Rejected(Box<PolicyRejection>),
}

/// A PCR that the log does not replay to.
#[derive(Debug, Clone, PartialEq)]
pub struct PcrMismatch {
    /// The PCR.
    pub pcr: u8,
    /// The bank.
    pub bank: HashAlgorithm,
    /// The quoted value, hexadecimal without leading zeros.
    pub quoted: String,
    /// The value the log replays to, in the same form.
    pub replayed: String,
    /// Numbers of the events that extend the PCR, at most [`MAX_NAMED_EVENTS`] of them.
    pub events: Vec<usize>,
    /// How many events extend it.
    pub event_count: usize,
}

/// Most events named in a failure.
pub const MAX_NAMED_EVENTS: usize = 32;

impl MeasuredBootFailure {
    /// The part of the event id after the component.
    #[must_use]
    pub fn id(&self) -> Cow<'static, str> {
        match self {
            Self::NotBase64(_) => Cow::Borrowed("parser.log.base64decode"),
            Self::Malformed(LogError { problem: LogProblem::Text { .. }, .. }) => Cow::Borrowed("parser.yaml"),
            Self::Malformed(_) => Cow::Borrowed("parser.tpm2_eventlog.error"),
            Self::NoPcrs => Cow::Borrowed("parser.invalid_pcrs"),
            Self::NoPcrsInBank(_) => Cow::Borrowed("parser.invalid_pcrs_hashes"),
            Self::InvalidPcr(mismatch) => Cow::Owned(format!("invalid_pcr_{}", mismatch.pcr)),
            Self::MissingPcrs { .. } => Cow::Borrowed("missing_pcrs"),
            Self::Rejected(rejection) => Cow::Owned(format!("policy_{}", rejection.policy)),
        }
    }

    /// The context object: the reference's members, and the sentence for people as `detail`.
    #[must_use]
    pub fn context(&self) -> Value {
        let mut context = self.reference_context();
        context["detail"] = Value::String(self.detail());
        context
    }

    fn reference_context(&self) -> Value {
        match self {
            Self::NotBase64(text) => json!({ "message": "Measured boot log could not be decoded", "data": text }),
            Self::Malformed(error) => match error.problem {
                LogProblem::Text { .. } => {
                    json!({ "message": "yaml output of tpm2_eventlog could not be parsed!", "data": error.to_string() })
                }
                _ => json!({
                    "context": "tpm2_eventlog exited with non-zero return code",
                    "code": 1,
                    "data": error.to_string(),
                }),
            },
            Self::NoPcrs | Self::NoPcrsInBank(_) => json!({ "got": null }),
            Self::InvalidPcr(mismatch) => json!({
                "context": format!("{} boot event log PCR value does not match", mismatch.bank.name().to_uppercase()),
                "got": mismatch.quoted,
                "expected": mismatch.replayed,
            }),
            Self::MissingPcrs { pcrs, .. } => json!({ "context": "PCRs are missing in quote", "data": pcrs }),
            Self::Rejected(rejection) => json!({
                "context": "Boot attestation failed",
                "policy": rejection.policy,
                "refstate": &*rejection.reference_state,
                "reason": rejection.to_string(),
            }),
        }
    }

    /// One sentence for people: which event, what was found and what would make it pass.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::NotBase64(text) => format!("the boot log is not base64 ({text}); the agent has to send it in base64"),
            Self::Malformed(error) => format!(
                "the boot log cannot be read: {error}; check that the agent reads \
                 /sys/kernel/security/tpm0/binary_bios_measurements, and that the log was not cut off"
            ),
            Self::NoPcrs => "no event of the boot log extends a PCR; the log is empty but for its header".to_owned(),
            Self::NoPcrsInBank(bank) => format!(
                "no event of the boot log has a {bank} digest; quote a bank that the firmware logs, or enable the {bank} \
                 bank in the firmware"
            ),
            Self::InvalidPcr(mismatch) => mismatch.detail(),
            Self::MissingPcrs { pcrs, policy } => format!(
                "boot policy {policy} needs PCRs {pcrs:?}, which were not quoted; add them to the mask of the agent's \
                 tpm_policy"
            ),
            Self::Rejected(rejection) => rejection.detail(),
        }
    }
}

impl PcrMismatch {
    fn detail(&self) -> String {
        let mut text = format!(
            "PCR {} of bank {} was quoted as {} but the boot log replays to {}: ",
            self.pcr, self.bank, self.quoted, self.replayed
        );
        match self.events.as_slice() {
            [] => text.push_str("no event of the log extends it"),
            events => {
                let _ = write!(text, "one of its {} events is altered, missing or added (events", self.event_count);
                for (index, event) in events.iter().enumerate() {
                    let _ = write!(text, "{} {event}", if index == 0 { "" } else { "," });
                }
                text.push_str(if events.len() < self.event_count { ", …)" } else { ")" });
            }
        }
        text
    }
}
