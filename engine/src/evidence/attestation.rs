//! One attestation of a push agent: what was offered, what was chosen, what was sent and what came of it.

use super::capabilities::{Capabilities, CertificationKey, EvidenceClass, EvidenceType};
use crate::algorithm::HashAlgorithm;
use crate::tpm::attest_structure::QuoteAttest;
use crate::tpm::clock_info::ClockInfo;
use crate::tpm::pcr_bank::PcrBank;
use crate::tpm::pcr_blob;
use crate::tpm::signature::SignatureScheme;
use std::fmt;
use std::sync::Arc;

/// Numbers the attestations of one agent, from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AttestationIndex(pub u32);

impl AttestationIndex {
    /// The index after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for AttestationIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Wall-clock microseconds since the epoch: what is stored and shown, never what is decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallMicros(pub i64);

impl WallMicros {
    /// The point `delay` later.
    #[must_use]
    pub fn after(self, delay: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// An attestation.
#[derive(Debug, Clone, PartialEq)]
pub struct Attestation {
    /// Its number.
    pub index: AttestationIndex,
    /// How far it has come.
    pub stage: Stage,
    /// Boot time of the machine, microseconds since the epoch; `None` when the agent named none.
    pub boot_time: Option<i64>,
    /// When it was opened.
    pub capabilities_received: WallMicros,
    /// Until when evidence is taken; `None` when there is no challenge.
    pub challenges_expire: Option<WallMicros>,
    /// When evidence came.
    pub evidence_received: Option<WallMicros>,
    /// When it was judged.
    pub verification_completed: Option<WallMicros>,
    /// Its evidence, in the order in which it was asked for.
    pub items: Vec<AttestationItem>,
}

/// How far an attestation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The agent was asked.
    AwaitingEvidence,
    /// Evidence came and is not judged yet.
    EvaluatingEvidence,
    /// Judged.
    Complete(Evaluation),
}

/// The outcome of an attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Evaluation {
    /// It satisfies all policies.
    Pass,
    /// It does not.
    Fail(FailureReason),
}

/// Why an attestation failed, as the v3 API tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureReason {
    /// The evidence is not what a TPM said, or its logs do not lead to the quoted values.
    BrokenEvidenceChain,
    /// Authentic, but not allowed.
    PolicyViolation,
}

impl FailureReason {
    /// Keylime's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BrokenEvidenceChain => "broken_evidence_chain",
            Self::PolicyViolation => "policy_violation",
        }
    }

    /// The reason with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::BrokenEvidenceChain, Self::PolicyViolation].into_iter().find(|reason| reason.name() == name)
    }
}

impl Stage {
    /// Keylime's name of the stage.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AwaitingEvidence => "awaiting_evidence",
            Self::EvaluatingEvidence => "evaluating_evidence",
            Self::Complete(_) => "verification_complete",
        }
    }

    /// Keylime's name of the evaluation.
    #[must_use]
    pub const fn evaluation_name(self) -> &'static str {
        match self {
            Self::AwaitingEvidence | Self::EvaluatingEvidence => "pending",
            Self::Complete(Evaluation::Pass) => "pass",
            Self::Complete(Evaluation::Fail(_)) => "fail",
        }
    }

    /// Why the attestation failed, if it did.
    #[must_use]
    pub const fn failure_reason(self) -> Option<FailureReason> {
        match self {
            Self::Complete(Evaluation::Fail(reason)) => Some(reason),
            Self::AwaitingEvidence | Self::EvaluatingEvidence | Self::Complete(Evaluation::Pass) => None,
        }
    }

    /// The stage with these names. A failure without a reason counts as a violation of policy.
    #[must_use]
    pub fn from_names(stage: &str, evaluation: &str, reason: Option<&str>) -> Option<Self> {
        match (stage, evaluation) {
            ("awaiting_evidence", _) => Some(Self::AwaitingEvidence),
            ("evaluating_evidence", _) => Some(Self::EvaluatingEvidence),
            ("verification_complete", "pass") => Some(Self::Complete(Evaluation::Pass)),
            ("verification_complete", "fail") => {
                let reason = reason.and_then(FailureReason::from_name).unwrap_or(FailureReason::PolicyViolation);
                Some(Self::Complete(Evaluation::Fail(reason)))
            }
            _ => None,
        }
    }
}

/// One piece of evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct AttestationItem {
    /// Its type.
    pub kind: EvidenceType,
    /// What the agent can do for it.
    pub capabilities: Capabilities,
    /// What it was asked for.
    pub chosen: Chosen,
    /// What it sent.
    pub data: Option<ItemData>,
    /// Entries of a log that its replay led to the quoted value with.
    pub certified_entries: Option<i64>,
}

impl AttestationItem {
    /// Its class.
    #[must_use]
    pub const fn class(&self) -> EvidenceClass {
        self.kind.class()
    }
}

/// What an agent was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Chosen {
    /// A quote.
    Quote(Box<QuoteParameters>),
    /// A log.
    Log(LogParameters),
}

/// How a quote is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct QuoteParameters {
    /// The qualifying data.
    pub challenge: Challenge,
    /// The scheme to sign with.
    pub signature_scheme: SignatureScheme,
    /// The hash to sign with, and the bank to quote.
    pub hash_algorithm: HashAlgorithm,
    /// PCRs by bank, ascending; `None` for a bank that is offered and not wanted.
    pub selected_subjects: Vec<(Box<str>, Option<Vec<u32>>)>,
    /// The key to sign with, as it was offered.
    pub certification_key: CertificationKey,
}

/// Which part of a log is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogParameters {
    /// The first entry; `None` for a log that is only sent as a whole.
    pub starting_offset: Option<u64>,
    /// The media type.
    pub format: LogFormat,
}

/// The forms of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines.
    Text,
    /// Bytes.
    Binary,
}

impl LogFormat {
    /// The media type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::Binary => "application/octet-stream",
        }
    }

    /// The form with this media type.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Text, Self::Binary].into_iter().find(|format| format.name() == name)
    }
}

/// Sixteen random bytes that one quote must contain. It can be cloned only with the attestation it belongs to.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge([u8; Self::LEN]);

impl Challenge {
    /// 128 bits (`evidence-and-tee.md` §5); every TPM takes them as qualifying data.
    pub const LEN: usize = 16;

    /// A challenge of these bytes, which must be unpredictable and never used before.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The challenge of a stored attestation.
    #[must_use]
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenge(..)")
    }
}

/// What an agent sent.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemData {
    /// A quote.
    Quote(Box<QuoteData>),
    /// A log.
    Log(LogData),
}

/// A quote's parts, decoded but not judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteData {
    /// The PCR values with their selection.
    pub subject_data: Vec<u8>,
    /// TPMS_ATTEST.
    pub message: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
}

impl QuoteData {
    /// The values and the clock that the quote claims, for display: nothing of it is authenticated.
    #[must_use]
    pub fn claims(&self, bank: HashAlgorithm) -> Option<(PcrBank, ClockInfo)> {
        let pcrs = pcr_blob::read_bank(&self.subject_data, bank).ok()?;
        let attest = QuoteAttest::parse(&self.message).ok()?;
        Some((pcrs, attest.clock))
    }
}

/// A log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogData {
    /// Number of entries, of a log of lines.
    pub entry_count: Option<u64>,
    /// The entries: lines, or base64 of bytes.
    pub entries: Arc<str>,
}

impl Attestation {
    /// The quote's parameters, if one was asked for.
    #[must_use]
    pub fn quote_parameters(&self) -> Option<&QuoteParameters> {
        self.items.iter().find_map(|item| match &item.chosen {
            Chosen::Quote(parameters) => Some(&**parameters),
            Chosen::Log(_) => None,
        })
    }

    /// The quote, if one was sent.
    #[must_use]
    pub fn quote(&self) -> Option<&QuoteData> {
        self.items.iter().find_map(|item| match &item.data {
            Some(ItemData::Quote(data)) => Some(&**data),
            Some(ItemData::Log(_)) | None => None,
        })
    }

    /// A piece of evidence by type.
    #[must_use]
    pub fn item(&self, kind: EvidenceType) -> Option<&AttestationItem> {
        self.items.iter().find(|item| item.kind == kind)
    }

    /// The entries of a log that was sent.
    #[must_use]
    pub fn log(&self, kind: EvidenceType) -> Option<&Arc<str>> {
        match &self.item(kind)?.data {
            Some(ItemData::Log(log)) => Some(&log.entries),
            Some(ItemData::Quote(_)) | None => None,
        }
    }

    /// First entry of the measurement list that was asked for.
    #[must_use]
    pub fn ima_offset(&self) -> u64 {
        match self.item(EvidenceType::ImaLog).map(|item| &item.chosen) {
            Some(Chosen::Log(LogParameters { starting_offset: Some(offset), .. })) => *offset,
            Some(Chosen::Log(_) | Chosen::Quote(_)) | None => 0,
        }
    }
}
