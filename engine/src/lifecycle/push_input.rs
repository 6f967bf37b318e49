//! What can happen to a push agent's lifecycle, and what its transitions ask for.

use super::deadline::DeadlineReason;
use super::operational_state::OperationalState;
use super::push_refusal::Refusal;
use super::push_state::{Conclusion, Occurrence};
use super::state::Ticket;
use crate::appraise::PushVerdict;
use crate::evidence::attestation::{Attestation, AttestationIndex};
use crate::evidence::field_error::FieldError;
use crate::evidence::negotiation::NegotiationTerms;
use crate::evidence::offer::Offer;
use crate::time::Timestamp;
use serde_json::Value;
use smallvec::SmallVec;
use std::sync::Arc;

/// An event.
#[derive(Debug, Clone)]
pub enum PushInput<'a> {
    /// The agent opens an attestation with an offer, or with one that could not be read.
    Open(&'a Result<Offer, Vec<FieldError>>, &'a NegotiationTerms<'a>),
    /// The agent sends evidence.
    Submit(Submission<'a>),
    /// The receipt of evidence is stored.
    Stored(Ticket),
    /// The receipt of evidence could not be stored, or nobody knows whether it was.
    NotStored(Ticket),
    /// The row is gone, or was set by somebody else to this state.
    RowChanged(Option<OperationalState>),
    /// The evidence was appraised.
    Appraised(Ticket, Box<PushVerdict>),
    /// The verifier itself failed at appraising; the agent is not to blame.
    Faulted(Ticket),
    /// Evidence that was taken before the last restart and never judged.
    Resumed(Arc<Attestation>),
    /// A verdict is stored.
    Concluded(AttestationIndex),
    /// A policy of the agent was replaced.
    PolicyChanged,
    /// The time of the last `SetDeadline` effect has come.
    DeadlineReached,
    /// The tenant stops attestation.
    StopRequested,
    /// The tenant has attestation begin anew.
    ReactivateRequested,
    /// The tenant deletes the agent.
    DeleteRequested,
}

/// Evidence that is sent.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// The attestation it is for; `None` for the latest.
    pub index: Option<&'a str>,
    /// The evidence; `None` when the request brings no attestation at all.
    pub evidence: Option<Option<&'a Value>>,
}

/// The effects of one transition.
pub type PushEffects = SmallVec<[PushEffect; 3]>;

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum PushEffect {
    /// Answer the agent that its attestation is open.
    AnswerOpened(Arc<Attestation>),
    /// Answer the agent that its evidence was taken, and in how many seconds it may open the next attestation.
    AnswerAccepted(Arc<Attestation>, u32),
    /// Answer the agent with a refusal.
    Refuse(Refusal),
    /// Store the receipt of evidence, then tell. The answer waits for it.
    StoreEvidence(Ticket, Arc<Attestation>, Occurrence),
    /// Appraise evidence whose receipt is stored.
    Appraise(Ticket, Arc<Attestation>),
    /// Store the verdict, the facts and the notice in one transaction. Nothing of it may become visible outside before it
    /// is stored.
    Conclude(Box<Conclusion>),
    /// Let the agent's token live on; follows a stored verdict.
    ExtendToken,
    /// Store the facts.
    Persist,
    /// Delete evidence that nobody will judge; the agent sends new evidence.
    Discard(AttestationIndex),
    /// The agent was silent too long; count it among those that were silent together.
    NoteSilence,
    /// Set the stored operational state, whatever it is.
    StoreState(OperationalState),
    /// Delete the agent's row.
    DeleteRow,
    /// Replace the deadline.
    SetDeadline(Timestamp, DeadlineReason),
    /// Remove the deadline.
    ClearDeadline,
    /// An answer came that nobody waits for any more; count it.
    DropStale,
}

impl PushEffect {
    /// The name in the transition matrix.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::AnswerOpened(_) => "AnswerOpened".to_owned(),
            Self::AnswerAccepted(..) => "AnswerAccepted".to_owned(),
            Self::Refuse(refusal) => format!("Refuse({})", refusal.name()),
            Self::StoreEvidence(_, _, Occurrence::First) => "StoreEvidence".to_owned(),
            Self::StoreEvidence(_, _, Occurrence::Again) => "StoreEvidence(again)".to_owned(),
            Self::Appraise(..) => "Appraise".to_owned(),
            Self::Conclude(conclusion) => {
                let notice = if conclusion.notice.is_some() { ", revocation" } else { "" };
                format!("Conclude({}{notice})", conclusion.attestation.stage.evaluation_name())
            }
            Self::ExtendToken => "ExtendToken".to_owned(),
            Self::Persist => "Persist".to_owned(),
            Self::Discard(_) => "Discard".to_owned(),
            Self::NoteSilence => "NoteSilence".to_owned(),
            Self::StoreState(_) => "StoreState".to_owned(),
            Self::DeleteRow => "DeleteRow".to_owned(),
            Self::SetDeadline(_, reason) => format!("SetDeadline({})", reason.name()),
            Self::ClearDeadline => "ClearDeadline".to_owned(),
            Self::DropStale => "DropStale".to_owned(),
        }
    }
}
