//! The state of one push agent's attestation.
//!
//! As in pull attestation, each phase owns what only it needs: nothing but an open attestation holds a challenge, and it is
//! gone from the phase as soon as evidence for it was taken.

use super::effect::Notice;
use super::state::{Ending, Ticket};
use crate::evidence::attestation::{Attestation, AttestationIndex, Stage};
use crate::evidence::negotiation::KnownList;
use crate::ima::ImaState;
use crate::time::Timestamp;
use crate::tpm::clock_info::ClockInfo;
use crate::verdict::Severity;
use smallvec::SmallVec;
use std::sync::Arc;

/// Everything the lifecycle of one push agent remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct PushState {
    /// What is being waited for.
    pub phase: PushPhase,
    /// What has been learned and is stored with every verdict.
    pub facts: PushFacts,
    /// What is stored of earlier attestations.
    pub trail: Trail,
    /// Whether the agent is heard of.
    pub presence: Presence,
    /// When it counts as silent; `None` before its first verdict and once it is silent.
    pub timeout: Option<Timestamp>,
    /// When the last evidence came.
    pub evidence_received: Option<Timestamp>,
    /// The last ticket given out.
    pub ticket: Ticket,
}

/// What is being waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum PushPhase {
    /// The agent's next attestation.
    Idle,
    /// Evidence for the open attestation.
    AwaitingEvidence(Open),
    /// The receipt of its evidence to be stored; the open attestation is what is gone back to if it is not.
    Storing {
        /// Names this wait.
        ticket: Ticket,
        /// The attestation without the evidence.
        open: Open,
        /// With it.
        received: Arc<Attestation>,
    },
    /// A verdict on evidence whose receipt is stored.
    Appraising {
        /// Names this wait.
        ticket: Ticket,
        /// The attestation.
        attestation: Arc<Attestation>,
    },
    /// Nothing; attestation has ended.
    Ended(Ending),
}

/// An open attestation.
#[derive(Debug, Clone, PartialEq)]
pub struct Open {
    /// What was asked for.
    pub attestation: Arc<Attestation>,
    /// Until when evidence is taken.
    pub expires: Timestamp,
    /// How often its evidence may already have been stored without anybody knowing.
    pub receipt: Occurrence,
}

/// Whether something may have been stored before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occurrence {
    /// It was never tried.
    First,
    /// An earlier try ended without an answer.
    Again,
}

/// Whether an agent is heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is, or was never attested.
    Heard,
    /// It was silent too long.
    Silent,
}

/// What has been learned about a push agent; the columns of `verifiermain` that attestation changes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PushFacts {
    /// State of the measurement list after the last attestation that passed.
    pub ima: ImaState,
    /// Boot time it named, microseconds since the epoch.
    pub boot_time: Option<i64>,
    /// TPM clock of the last authentic quote.
    pub clock: ClockInfo,
    /// Failed attestations since the last that counts.
    pub consecutive_failures: u32,
    /// Severity announced since the agent began to fail.
    pub announced: Option<Severity>,
    /// Severity of the last announced failure.
    pub severity: Option<Severity>,
    /// Event id of the last announced failure.
    pub last_event_id: Option<Box<str>>,
    /// Number of attestations that passed.
    pub attestation_count: u64,
    /// When evidence was last judged, wall-clock seconds; 0 for never.
    pub last_received_quote: i64,
    /// When an attestation last passed, wall-clock seconds.
    pub last_successful_attestation: i64,
}

impl PushFacts {
    /// How far the measurement list is known.
    #[must_use]
    pub fn known_list(&self) -> KnownList {
        KnownList { boot_time: self.boot_time, entries: self.ima.next_entry }
    }
}

/// What is stored of earlier attestations: as much as pruning has to know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trail {
    /// The next index.
    pub next_index: AttestationIndex,
    /// The last attestation whose evidence was taken, and its stage.
    pub latest: Option<(AttestationIndex, Stage)>,
    /// The last one that passed, if it is the latest that was judged.
    pub passed: Option<Milestone>,
    /// Boot time of the last authentic one before that.
    pub before: Option<Option<i64>>,
    /// Failed ones that are kept, oldest first.
    pub failed: SmallVec<[AttestationIndex; 2]>,
}

/// An attestation that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Milestone {
    /// Its index.
    pub index: AttestationIndex,
    /// Its boot time.
    pub boot_time: Option<i64>,
}

/// What becomes durable with a verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Conclusion {
    /// The judged attestation.
    pub attestation: Arc<Attestation>,
    /// Earlier ones that need not be kept any longer.
    pub prune: SmallVec<[AttestationIndex; 2]>,
    /// A revocation notice.
    pub notice: Option<Box<Notice>>,
}

impl PushState {
    /// The state of a push agent that is taken up: enrolled, or found at start-up.
    #[must_use]
    pub fn taken_up(facts: PushFacts, trail: Trail, presence: Presence) -> Self {
        Self {
            phase: PushPhase::Idle,
            facts,
            trail,
            presence,
            timeout: None,
            evidence_received: None,
            ticket: Ticket::default(),
        }
    }

    /// The latest attestation: the one under way, or the last that was judged.
    #[must_use]
    pub fn latest(&self) -> Option<(AttestationIndex, Stage)> {
        match &self.phase {
            PushPhase::AwaitingEvidence(open) => Some((open.attestation.index, Stage::AwaitingEvidence)),
            PushPhase::Storing { received, .. } => Some((received.index, Stage::EvaluatingEvidence)),
            PushPhase::Appraising { attestation, .. } => Some((attestation.index, Stage::EvaluatingEvidence)),
            PushPhase::Idle | PushPhase::Ended(_) => self.trail.latest,
        }
    }

    /// The open attestation, which is in no database.
    #[must_use]
    pub fn open(&self) -> Option<&Arc<Attestation>> {
        match &self.phase {
            PushPhase::AwaitingEvidence(open) | PushPhase::Storing { open, .. } => Some(&open.attestation),
            PushPhase::Idle | PushPhase::Appraising { .. } | PushPhase::Ended(_) => None,
        }
    }
}
