//! Why a push agent's request is refused (`verifier-v3-push.md` §4 and §5, in the order of the checks).

use crate::evidence::attestation::{AttestationIndex, WallMicros};
use crate::evidence::field_error::FieldError;

/// A refusal. Nothing about the agent is changed by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Attestation of the agent is switched off: it was stopped, is asked by the verifier, or was silent and has to be
    /// reactivated.
    AttestationsDisabled,
    /// An agent that is not a push agent failed and has to wait longer.
    FailedRetry {
        /// Seconds to wait.
        retry_after: u32,
    },
    /// Its last evidence is not judged yet.
    VerificationInProgress {
        /// Seconds to wait.
        retry_after: u32,
    },
    /// The interval since its last evidence is not over.
    Premature {
        /// Seconds to wait.
        retry_after: u32,
    },
    /// The request does not do.
    Invalid(Vec<FieldError>),
    /// Another attestation is being opened.
    Conflict,
    /// There is no attestation.
    NoAttestation,
    /// The attestation is not the latest.
    NotLatest,
    /// Its evidence was taken already.
    EvidenceImmutable(AttestationIndex),
    /// Its challenge is not valid any more; `None` when it never had one.
    ChallengesExpired(AttestationIndex, Option<WallMicros>),
    /// The request brings no evidence at all.
    NoEvidence,
    /// The verifier lacks resources; the agent is not to blame.
    Busy {
        /// Seconds to wait.
        retry_after: u32,
    },
}

impl Refusal {
    /// The name in the transition matrix.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AttestationsDisabled => "attestations_disabled",
            Self::FailedRetry { .. } => "failed_retry",
            Self::VerificationInProgress { .. } => "verification_in_progress",
            Self::Premature { .. } => "premature",
            Self::Invalid(_) => "invalid",
            Self::Conflict => "conflict",
            Self::NoAttestation => "no_attestation",
            Self::NotLatest => "not_latest",
            Self::EvidenceImmutable(_) => "evidence_immutable",
            Self::ChallengesExpired(..) => "challenges_expired",
            Self::NoEvidence => "no_evidence",
            Self::Busy { .. } => "busy",
        }
    }
}
