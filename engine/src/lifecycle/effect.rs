//! What a transition asks its caller to do, in order.

use super::api_version::ApiVersion;
use super::deadline::DeadlineReason;
use super::entropy::QuoteNonce;
use super::operational_state::OperationalState;
use super::state::{KeyRequest, Ticket};
use crate::time::Timestamp;
use crate::verdict::{Failure, Severity};
use smallvec::SmallVec;

/// The effects of one transition; seldom more than three.
pub type Effects = SmallVec<[Effect; 3]>;

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ask the agent for a quote.
    RequestEvidence {
        /// To be given back with the answer.
        ticket: Ticket,
        /// The challenge.
        nonce: QuoteNonce,
        /// Whether the payload key is asked for.
        key: KeyRequest,
        /// First entry of the measurement list that is wanted.
        ima_entry: u64,
        /// API version to ask with.
        version: ApiVersion,
    },
    /// Appraise the evidence that has just arrived.
    Appraise {
        /// To be given back with the verdict.
        ticket: Ticket,
        /// The challenge it must answer.
        nonce: QuoteNonce,
    },
    /// Ask the agent which API versions it speaks.
    RequestVersion {
        /// To be given back with the answer.
        ticket: Ticket,
    },
    /// Send the agent its key share.
    DeliverShare {
        /// To be given back with the answer.
        ticket: Ticket,
        /// API version to send with.
        version: ApiVersion,
    },
    /// Store the facts and the shown state, and in the same transaction the notice. Nothing of it may become visible
    /// outside before it is stored.
    Persist {
        /// How soon.
        durability: Durability,
        /// A revocation notice that becomes durable with it.
        notice: Option<Box<Notice>>,
    },
    /// Set the stored operational state, whatever it is.
    StoreState(OperationalState),
    /// Delete the agent's row.
    DeleteRow,
    /// Replace the deadline.
    SetDeadline {
        /// When.
        at: Timestamp,
        /// Why.
        reason: DeadlineReason,
    },
    /// Remove the deadline: attestation has ended.
    StopAttesting,
    /// An answer came that nobody waits for any more; count it.
    DropStale,
}

impl Effect {
    /// The name in the transition matrix.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RequestEvidence { key: KeyRequest::Ask, .. } => "RequestEvidence(key)",
            Self::RequestEvidence { key: KeyRequest::Known, .. } => "RequestEvidence",
            Self::Appraise { .. } => "Appraise",
            Self::RequestVersion { .. } => "RequestVersion",
            Self::DeliverShare { .. } => "DeliverShare",
            Self::Persist { durability: Durability::Durable, notice: Some(notice) } => match notice.kind {
                NoticeKind::Revocation => "Persist(durable, revocation)",
                NoticeKind::CommunicationError => "Persist(durable, comm_error)",
            },
            Self::Persist { durability: Durability::Durable, notice: None } => "Persist(durable)",
            Self::Persist { durability: Durability::Soon, .. } => "Persist(soon)",
            Self::Persist { durability: Durability::Lazy, .. } => "Persist(lazy)",
            Self::StoreState(_) => "StoreState",
            Self::DeleteRow => "DeleteRow",
            Self::SetDeadline { reason, .. } => match reason {
                DeadlineReason::NextAttestation => "SetDeadline(next_attestation)",
                DeadlineReason::ReplyTimeout => "SetDeadline(reply_timeout)",
                DeadlineReason::RetryBackoff => "SetDeadline(retry_backoff)",
                DeadlineReason::SilenceTimeout => "SetDeadline(silence_timeout)",
            },
            Self::StopAttesting => "StopAttesting",
            Self::DropStale => "DropStale",
        }
    }
}

/// How soon a change has to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Within seconds: counters, times and the state of the measurement list, which a restart can do without.
    Lazy,
    /// Within a quarter of a second: a change of the shown state that announces nothing.
    Soon,
    /// At once, before anything that follows from it.
    Durable,
}

/// A notice to the subscribers of revocations.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// What kind.
    pub kind: NoticeKind,
    /// The event it is about.
    pub failure: Failure,
    /// Its severity.
    pub severity: Severity,
}

/// The kinds of notices (`revocation-and-severity.md` §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// The evidence failed.
    Revocation,
    /// An agent that was attested before cannot be reached, or does not take its key share.
    CommunicationError,
}

impl NoticeKind {
    /// Keylime's word.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Revocation => "revocation",
            Self::CommunicationError => "comm_error",
        }
    }
}
