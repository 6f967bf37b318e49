//! What the gateway asks of the verifier system about attestations of push agents, and what it gets.

use crate::ports::StoreError;
use keylime_engine::evidence::attestation::{Attestation, AttestationIndex};
use keylime_engine::lifecycle::Refusal;
use std::sync::Arc;

/// Why a push agent's request was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PushError {
    /// The agent is not enrolled here.
    #[error("agent not enrolled")]
    NotEnrolled,
    /// The state machine refuses it.
    #[error("refused: {}", .0.name())]
    Refused(Refusal),
    /// The database could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Evidence that was taken.
#[derive(Debug, Clone)]
pub struct AcceptedEvidence {
    /// The attestation with it.
    pub attestation: Arc<Attestation>,
    /// Seconds until the agent may open the next attestation.
    pub seconds_to_next: u32,
}

/// Which attestation of an agent is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector {
    /// The newest.
    Latest,
    /// The one with this index.
    Index(AttestationIndex),
}
