//! Where attestation goes on after a restart, given the stored operational state (`verifier-state-machine.md` §1, §9).

use super::operational_state::OperationalState;
use super::state::{Ending, Facts, PullState};
use crate::time::Timestamp;
use crate::verdict::{Severity, SeverityPolicy};

/// What the start-up makes of a stored agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Restored {
    /// Its lifecycle goes on from here.
    State(Box<PullState>),
    /// Its deletion was not finished before the restart and has to be.
    FinishDeletion,
}

/// Restores the lifecycle of a stored agent; attestation of a live one is due at `due`.
///
/// Keylime revives the states 1, 3, 4, 5 and 6 as Start. A state 9 whose stored severity is below the highest was tolerated:
/// it was being attested, so it goes on being attested, shown as it was.
#[must_use]
pub fn restore(code: Option<i32>, facts: Facts, severity: &SeverityPolicy, due: Timestamp) -> Restored {
    let stored = code.and_then(|code| OperationalState::from_code(i64::from(code)));
    let state = match stored {
        Some(OperationalState::Terminated) => return Restored::FinishDeletion,
        Some(OperationalState::Saved) => PullState::ended(facts, Ending::Saved, OperationalState::Saved),
        Some(OperationalState::Failed) => PullState::ended(facts, Ending::Failed, OperationalState::Failed),
        Some(OperationalState::TenantFailed) => {
            PullState::ended(facts, Ending::Stopped, OperationalState::TenantFailed)
        }
        Some(OperationalState::InvalidQuote) if is_below_highest(facts.severity, severity) => {
            PullState { shown: OperationalState::InvalidQuote, ..PullState::starting(facts, due) }
        }
        Some(OperationalState::InvalidQuote) => {
            PullState::ended(facts, Ending::InvalidQuote, OperationalState::InvalidQuote)
        }
        Some(
            OperationalState::Registered
            | OperationalState::Start
            | OperationalState::GetQuote
            | OperationalState::GetQuoteRetry
            | OperationalState::ProvideV
            | OperationalState::ProvideVRetry,
        )
        | None => PullState::starting(facts, due),
    };
    Restored::State(Box::new(state))
}

fn is_below_highest(stored: Option<Severity>, policy: &SeverityPolicy) -> bool {
    stored.is_some_and(|severity| severity < policy.max())
}
