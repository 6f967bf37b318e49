//! Where the attestation of a push agent goes on after a restart (`verifier-state-machine.md` §9).

use super::operational_state::{OperationalState, RowOrder};
use super::push_state::{Milestone, Presence, PushFacts, PushPhase, PushState, Trail};
use super::push_transition::PushSettings;
use super::state::Ending;
use crate::evidence::attestation::{AttestationIndex, Evaluation, FailureReason, Stage, WallMicros};
use crate::time::Now;

/// What is stored of one attestation, without its evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredAttestation {
    /// Its index.
    pub index: AttestationIndex,
    /// Its stage.
    pub stage: Stage,
    /// Boot time the agent named.
    pub boot_time: Option<i64>,
    /// When evidence came.
    pub evidence_received: Option<WallMicros>,
}

/// What the start-up makes of a stored push agent.
#[derive(Debug, Clone, PartialEq)]
pub enum RestoredPush {
    /// Its lifecycle goes on from here; evidence with this index was taken and never judged.
    State(Box<PushState>, Option<AttestationIndex>),
    /// Its deletion was not finished before the restart and has to be.
    FinishDeletion,
}

/// Restores the lifecycle of a stored push agent.
///
/// An agent that is heard of gets one whole window before it can count as silent, however long the verifier was away: the
/// reference, which counts that time, would report a fleet for an outage of its own. Challenges are not taken up: the agent
/// opens a new attestation.
#[must_use]
pub fn restore_push(
    code: Option<i32>,
    facts: PushFacts,
    presence: Presence,
    stored: &[StoredAttestation],
    settings: &PushSettings,
    now: Now,
) -> RestoredPush {
    let found = code.and_then(|code| OperationalState::from_code(i64::from(code)));
    let ending = match found.and_then(OperationalState::order) {
        Some(RowOrder::Delete) => return RestoredPush::FinishDeletion,
        Some(RowOrder::Stop) => Some(Ending::Stopped),
        None => None,
    };
    let mut stored = stored.to_vec();
    stored.sort_by_key(|attestation| attestation.index);
    let facts = with_boot_time(facts, &stored);
    let was_attested = facts.last_received_quote > 0;
    let mut state = PushState::taken_up(facts, trail_of(&stored), presence);
    let last = stored.last();
    state.evidence_received = last.and_then(|last| last.evidence_received).map(|received| {
        let age = now.wall_seconds.saturating_sub(received.0.div_euclid(1_000_000)).max(0);
        let age = u64::try_from(age).unwrap_or(0).saturating_mul(1000);
        crate::time::Timestamp(now.at.0.saturating_sub(age))
    });
    if let Some(ending) = ending {
        state.phase = PushPhase::Ended(ending);
    } else if was_attested && presence == Presence::Heard {
        state.timeout = Some(now.at.after(settings.silence()));
    }
    let pending = last.filter(|last| last.stage == Stage::EvaluatingEvidence).map(|last| last.index);
    RestoredPush::State(Box::new(state), pending.filter(|_| ending.is_none()))
}

/// The measurement list is known as far as the agent's row says, if the row and the last attestation that passed name the
/// same boot; else it is asked for from its start.
fn with_boot_time(facts: PushFacts, stored: &[StoredAttestation]) -> PushFacts {
    let is_pass = |attestation: &&StoredAttestation| attestation.stage == Stage::Complete(Evaluation::Pass);
    let boot_time = stored.iter().rev().find(is_pass).and_then(|attestation| attestation.boot_time);
    let agrees = boot_time.is_some_and(|micros| micros.div_euclid(1_000_000) == facts.ima.boottime);
    let ima = if agrees { facts.ima } else { Default::default() };
    PushFacts { ima, boot_time, ..facts }
}

fn trail_of(stored: &[StoredAttestation]) -> Trail {
    let mut trail = Trail::default();
    for attestation in stored {
        trail.next_index = attestation.index.next();
        trail.latest = Some((attestation.index, attestation.stage));
        match attestation.stage {
            Stage::Complete(Evaluation::Pass) => {
                trail.before = trail.passed.map(|passed| passed.boot_time).or(trail.before);
                trail.passed = Some(Milestone { index: attestation.index, boot_time: attestation.boot_time });
            }
            Stage::Complete(Evaluation::Fail(reason)) => {
                trail.note_failure(attestation.index, reason, attestation.boot_time);
            }
            Stage::AwaitingEvidence | Stage::EvaluatingEvidence => {}
        }
    }
    trail
}

impl Trail {
    /// Takes note of a failed attestation: it ends a row of passes, and stays as an authentic one unless its chain broke.
    pub(super) fn note_failure(&mut self, index: AttestationIndex, reason: FailureReason, boot_time: Option<i64>) {
        if let Some(passed) = self.passed.take() {
            self.before = Some(passed.boot_time);
        }
        if reason == FailureReason::PolicyViolation {
            self.before = Some(boot_time);
        }
        self.failed.push(index);
    }
}
