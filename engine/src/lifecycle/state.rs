//! The state of one pull agent's attestation.
//!
//! [`Phase`] says what is being waited for; each variant owns what only it needs, so that for example nothing but
//! [`Phase::AwaitingEvidence`] and [`Phase::Appraising`] has a nonce. [`Facts`] is what has been learned so far and is
//! stored with every change.

use super::api_version::ApiVersion;
use super::entropy::QuoteNonce;
use super::operational_state::OperationalState;
use crate::ima::ImaState;
use crate::time::Timestamp;
use crate::tpm::clock_info::ClockInfo;
use crate::verdict::Severity;
use std::sync::Arc;

/// Numbers the requests of one actor to its agent; an answer that carries another number is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Ticket(pub u32);

impl Ticket {
    /// The ticket after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// Everything the lifecycle of one pull agent remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct PullState {
    /// What is being waited for.
    pub phase: Phase,
    /// The operational state shown to users and stored.
    pub shown: OperationalState,
    /// What has been learned.
    pub facts: Facts,
    /// Requests that went unanswered in a row.
    pub retries: u32,
    /// The last ticket given out.
    pub ticket: Ticket,
    /// When the current or next attestation was due; keeps the cadence.
    pub due: Timestamp,
    /// Highest severity announced since attestation last began or recovered. Not stored: after a restart the first failure
    /// is always announced.
    pub announced: Option<Severity>,
    /// Whether the next quote request asks for the payload key.
    pub key_request: KeyRequest,
    /// Whether the agent's key share still has to be delivered.
    pub share: KeyShare,
}

/// What is being waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The next attestation.
    Resting,
    /// The answer to a quote request.
    AwaitingEvidence {
        /// The request.
        ticket: Ticket,
        /// What its quote must contain.
        nonce: QuoteNonce,
    },
    /// The appraisal of the evidence that answered a request.
    Appraising {
        /// The request.
        ticket: Ticket,
        /// What its quote must contain.
        nonce: QuoteNonce,
    },
    /// The list of API versions of the agent.
    AwaitingVersion {
        /// The request.
        ticket: Ticket,
        /// What is tried again once the version is known.
        then: Resume,
    },
    /// The agent's acknowledgement of its key share.
    DeliveringShare {
        /// The request.
        ticket: Ticket,
    },
    /// The end of a pause after an unanswered request.
    BackingOff {
        /// What is tried again.
        then: Resume,
    },
    /// The end of a request that was in flight when deletion was asked for.
    Terminating,
    /// Nothing; attestation has ended.
    Ended(Ending),
}

/// What an interrupted attestation resumes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// A quote request.
    Quote,
    /// The delivery of the key share.
    Share,
}

/// Why attestation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// For a reason other than the evidence.
    Failed,
    /// The evidence failed.
    InvalidQuote,
    /// The tenant stopped it.
    Stopped,
    /// Another verifier saved it before stopping.
    Saved,
    /// The row is deleted, or being deleted.
    Deleted,
}

/// Whether a quote request asks for the payload key (`partial=0`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRequest {
    /// Ask.
    Ask,
    /// The key is known.
    Known,
}

/// Where the delivery of the key share stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyShare {
    /// To be delivered after the next good quote.
    Due,
    /// Delivered, or there is none.
    Settled,
}

/// Names of the algorithms of the last appraised quote, as the agent gave them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct QuoteAlgorithms {
    /// `hash_alg`.
    pub hash: Box<str>,
    /// `enc_alg`.
    pub enc: Box<str>,
    /// `sign_alg`.
    pub sign: Box<str>,
}

/// What has been learned about an agent; the columns of `verifiermain` that attestation changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Payload key of the agent, PEM; `None` before the first good quote.
    pub payload_key: Option<Arc<str>>,
    /// Algorithms of the last appraised quote.
    pub algorithms: Arc<QuoteAlgorithms>,
    /// Version of the agent's API.
    pub version: ApiVersion,
    /// Incremental state of the measurement list.
    pub ima: ImaState,
    /// TPM clock of the last good quote.
    pub clock: ClockInfo,
    /// Severity of the last announced failure.
    pub severity: Option<Severity>,
    /// Event id of the last announced failure.
    pub last_event_id: Option<Box<str>>,
    /// Number of good quotes.
    pub attestation_count: u64,
    /// When the last quote was judged, wall-clock seconds.
    pub last_received_quote: i64,
    /// When the last good quote was judged, wall-clock seconds.
    pub last_successful_attestation: i64,
}

impl PullState {
    /// The state of an agent whose attestation begins: newly enrolled, found at start-up, or reactivated.
    ///
    /// Keylime shows such an agent as Start until its first quote is judged, asks it for its payload key and delivers its
    /// key share again.
    #[must_use]
    pub fn starting(facts: Facts, due: Timestamp) -> Self {
        Self {
            phase: Phase::Resting,
            shown: OperationalState::Start,
            facts,
            retries: 0,
            ticket: Ticket::default(),
            due,
            announced: None,
            key_request: KeyRequest::Ask,
            share: KeyShare::Due,
        }
    }

    /// The state of an agent whose row says that attestation has ended.
    #[must_use]
    pub fn ended(facts: Facts, ending: Ending, shown: OperationalState) -> Self {
        Self { phase: Phase::Ended(ending), shown, ..Self::starting(facts, Timestamp::default()) }
    }

    /// Whether an answer to the request with `ticket` is still wanted.
    #[must_use]
    pub fn awaits(&self, ticket: Ticket) -> bool {
        match self.phase {
            Phase::AwaitingEvidence { ticket: t, .. }
            | Phase::Appraising { ticket: t, .. }
            | Phase::AwaitingVersion { ticket: t, .. }
            | Phase::DeliveringShare { ticket: t } => t == ticket,
            Phase::Terminating => self.ticket == ticket,
            Phase::Resting | Phase::BackingOff { .. } | Phase::Ended(_) => false,
        }
    }

    /// Whether a request or an appraisal is under way.
    #[must_use]
    pub fn in_flight(&self) -> bool {
        match self.phase {
            Phase::AwaitingEvidence { .. }
            | Phase::Appraising { .. }
            | Phase::AwaitingVersion { .. }
            | Phase::DeliveringShare { .. }
            | Phase::Terminating => true,
            Phase::Resting | Phase::BackingOff { .. } | Phase::Ended(_) => false,
        }
    }

    /// Whether evidence failed and the operator's severity policy tolerates it.
    #[must_use]
    pub fn tolerated(&self) -> bool {
        self.shown == OperationalState::InvalidQuote && !matches!(self.phase, Phase::Ended(_))
    }
}

impl Facts {
    /// The facts of an agent that was never attested.
    #[must_use]
    pub fn unattested(version: ApiVersion) -> Self {
        Self {
            payload_key: None,
            algorithms: Arc::default(),
            version,
            ima: ImaState::default(),
            clock: ClockInfo::default(),
            severity: None,
            last_event_id: None,
            attestation_count: 0,
            last_received_quote: 0,
            last_successful_attestation: 0,
        }
    }
}
