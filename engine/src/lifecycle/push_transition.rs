//! The state machine of push attestation as one pure function (`verifier-v3-push.md` §4 to §6).
//!
//! Deliberate differences from the reference: an attestation cannot be opened while another is being judged; evidence that
//! cannot be judged is a failed attestation, not one that stays pending; failures are announced as in pull attestation;
//! an attestation that is never answered leaves nothing behind, and of failed ones a bounded number is kept.

use super::deadline::DeadlineReason;
use super::effect::{Notice, NoticeKind};
use super::entropy::Entropy;
use super::operational_state::{OperationalState, RowOrder};
use super::push_input::{PushEffect, PushEffects, PushInput, Submission};
use super::push_refusal::Refusal;
use super::push_state::{Conclusion, Milestone, Occurrence, Open, Presence, PushPhase, PushState};
use super::retry_backoff::RetryBackoff;
use super::state::{Ending, Ticket};
use crate::appraise::PushVerdict;
use crate::evidence::attestation::{Attestation, AttestationIndex, Evaluation, FailureReason, Stage, WallMicros};
use crate::evidence::capabilities::EvidenceType;
use crate::evidence::field_error::FieldError;
use crate::evidence::negotiation::{NegotiationTerms, negotiate};
use crate::evidence::offer::Offer;
use crate::evidence::submission::read_evidence;
use crate::ima::ImaState;
use crate::time::Now;
use crate::tpm::clock_info::ClockInfo;
use crate::verdict::{Failures, SeverityPolicy};
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// The operator's settings of push attestation.
#[derive(Debug, Clone)]
pub struct PushSettings {
    /// `quote_interval`.
    pub quote_interval: Duration,
    /// `challenge_lifetime`.
    pub challenge_lifetime: Duration,
    /// `verification_timeout`.
    pub verification_timeout: Duration,
    /// `auto_recover_attestation_failures`.
    pub failure_recovery: FailureRecovery,
    /// `timeout_recovery`.
    pub timeout_recovery: TimeoutRecovery,
    /// `extend_token_on_attestation`.
    pub token_extension: TokenExtension,
    /// `retry_interval` and `exponential_backoff`, for agents that are not push agents.
    pub backoff: RetryBackoff,
    /// `severity_labels` and `severity_policy`.
    pub severity: SeverityPolicy,
}

/// Whether a good attestation makes up for failed ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureRecovery {
    /// It does.
    Automatic,
    /// The agent stays failed until it is enrolled or reactivated anew.
    Manual,
}

/// Whether an agent that was silent may come back by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutRecovery {
    /// It may.
    Automatic,
    /// It has to be enrolled or reactivated anew.
    Manual,
}

/// Whether a good attestation prolongs the agent's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenExtension {
    /// It does.
    OnPass,
    /// Tokens live as long as they were made for.
    Never,
}

impl PushSettings {
    /// How long an agent may be silent (`verifier-v3-push.md` §5, "Timeout monitor").
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.quote_interval.saturating_mul(SILENT_INTERVALS)
    }
}

/// Intervals after which an agent that sends nothing counts as silent.
const SILENT_INTERVALS: u32 = 5;
/// Failed attestations that are kept for each agent.
pub const KEPT_FAILURES: usize = 16;
/// What a client waits at least for a verdict, seconds.
const LEAST_RETRY: u32 = 1;

/// How an agent was enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentKind {
    /// For push attestation.
    Push,
    /// With an address, in a verifier that does not ask agents.
    Addressed,
}

/// What the transition has to know of an agent besides its state.
#[derive(Debug, Clone, Copy)]
pub struct PushTerms<'a> {
    /// The operator's settings.
    pub settings: &'a PushSettings,
    /// How the agent was enrolled.
    pub kind: AgentKind,
    /// The wall clock, to the microsecond, for display.
    pub wall: WallMicros,
}

/// Carries a state over one input.
#[must_use]
pub fn push_transition(
    state: PushState,
    input: PushInput<'_>,
    terms: PushTerms<'_>,
    now: Now,
    entropy: &Entropy,
) -> (PushState, PushEffects) {
    let mut step = Step { state, effects: PushEffects::new(), terms, now, entropy };
    step.apply(input);
    (step.state, step.effects)
}

struct Step<'a> {
    state: PushState,
    effects: PushEffects,
    terms: PushTerms<'a>,
    now: Now,
    entropy: &'a Entropy,
}

impl Step<'_> {
    fn apply(&mut self, input: PushInput<'_>) {
        match input {
            PushInput::Open(offer, terms) => self.open(offer, terms),
            PushInput::Submit(submission) => self.submit(submission),
            PushInput::Stored(ticket) => self.stored(ticket),
            PushInput::NotStored(ticket) => self.not_stored(ticket),
            PushInput::RowChanged(stored) => self.row_changed(stored),
            PushInput::Appraised(ticket, verdict) => self.appraised(ticket, *verdict),
            PushInput::Faulted(ticket) => self.faulted(ticket),
            PushInput::Resumed(attestation) => self.resumed(attestation),
            PushInput::Concluded(index) => self.concluded(index),
            PushInput::PolicyChanged => self.policy_changed(),
            PushInput::DeadlineReached => self.deadline_reached(),
            PushInput::StopRequested => self.stop_requested(),
            PushInput::ReactivateRequested => self.reactivate_requested(),
            PushInput::DeleteRequested => self.delete_requested(),
        }
    }

    fn open(&mut self, offer: &Result<Offer, Vec<FieldError>>, terms: &NegotiationTerms<'_>) {
        if let Some(refusal) = self.refuse_opening() {
            return self.refuse(refusal);
        }
        let offer = match offer {
            Ok(offer) => offer,
            Err(errors) => return self.refuse(Refusal::Invalid(errors.clone())),
        };
        let negotiated = match negotiate(offer, terms, self.state.facts.known_list(), self.entropy.challenge()) {
            Ok(negotiated) => negotiated,
            Err(errors) => return self.refuse(Refusal::Invalid(errors)),
        };
        let index = self.state.trail.next_index;
        self.state.trail.next_index = index.next();
        let lifetime = self.terms.settings.challenge_lifetime;
        let attestation = Arc::new(Attestation {
            index,
            stage: Stage::AwaitingEvidence,
            boot_time: negotiated.boot_time,
            capabilities_received: self.terms.wall,
            challenges_expire: (!negotiated.items.is_empty()).then(|| self.terms.wall.after(lifetime)),
            evidence_received: None,
            verification_completed: None,
            items: negotiated.items,
        });
        let expires = self.now.at.after(lifetime);
        self.effects.push(PushEffect::AnswerOpened(Arc::clone(&attestation)));
        // An older open attestation is given up with its challenge.
        self.state.phase = PushPhase::AwaitingEvidence(Open { attestation, expires, receipt: Occurrence::First });
    }

    fn refuse_opening(&self) -> Option<Refusal> {
        match self.state.phase {
            PushPhase::Ended(_) => return Some(Refusal::AttestationsDisabled),
            PushPhase::Storing { .. } | PushPhase::Appraising { .. } => {
                return Some(Refusal::VerificationInProgress { retry_after: self.seconds_to_decision() });
            }
            PushPhase::Idle | PushPhase::AwaitingEvidence(_) => {}
        }
        let is_silent = self.state.presence == Presence::Silent;
        let settings = self.terms.settings;
        let is_disabled = match self.terms.kind {
            AgentKind::Push => settings.timeout_recovery == TimeoutRecovery::Manual,
            AgentKind::Addressed => true,
        };
        if is_silent && is_disabled {
            return Some(Refusal::AttestationsDisabled);
        }
        let has_failed = matches!(self.state.trail.latest, Some((_, Stage::Complete(Evaluation::Fail(_)))));
        if self.terms.kind == AgentKind::Addressed && has_failed {
            let delay = settings.backoff.delay(self.state.facts.consecutive_failures.max(1));
            let retry_after = delay.min(settings.quote_interval).as_secs();
            return Some(Refusal::FailedRetry { retry_after: u32::try_from(retry_after).unwrap_or(u32::MAX) });
        }
        match self.seconds_to_next() {
            0 => None,
            retry_after => Some(Refusal::Premature { retry_after }),
        }
    }

    fn submit(&mut self, submission: Submission<'_>) {
        let Some((latest, _)) = self.state.latest() else { return self.refuse(Refusal::NoAttestation) };
        if submission.index.is_some_and(|index| *index != *latest.to_string()) {
            return self.refuse(Refusal::NotLatest);
        }
        let PushPhase::AwaitingEvidence(open) = &self.state.phase else {
            return self.refuse(match self.state.phase {
                PushPhase::Ended(_) => Refusal::AttestationsDisabled,
                PushPhase::Idle
                | PushPhase::AwaitingEvidence(_)
                | PushPhase::Storing { .. }
                | PushPhase::Appraising { .. } => Refusal::EvidenceImmutable(latest),
            });
        };
        let expires = open.attestation.challenges_expire;
        if expires.is_none() || open.expires <= self.now.at {
            return self.refuse(Refusal::ChallengesExpired(latest, expires));
        }
        let Some(evidence) = submission.evidence else { return self.refuse(Refusal::NoEvidence) };
        let collected = match read_evidence(evidence, &open.attestation) {
            Ok(collected) => collected,
            Err(errors) => return self.refuse(Refusal::Invalid(errors)),
        };
        let mut open = open.clone();
        let mut received = (*open.attestation).clone();
        received.stage = Stage::EvaluatingEvidence;
        received.evidence_received = Some(self.terms.wall);
        for (item, data) in received.items.iter_mut().zip(collected) {
            item.data = Some(data);
        }
        let ticket = self.new_ticket();
        let received = Arc::new(received);
        self.effects.push(PushEffect::StoreEvidence(ticket, Arc::clone(&received), open.receipt));
        open.receipt = Occurrence::Again;
        self.state.phase = PushPhase::Storing { ticket, open, received };
    }

    fn stored(&mut self, ticket: Ticket) {
        let attestation = match &self.state.phase {
            PushPhase::Storing { ticket: awaited, received, .. } if *awaited == ticket => Arc::clone(received),
            _ => return self.effects.push(PushEffect::DropStale),
        };
        self.state.evidence_received = Some(self.now.at);
        self.state.trail.latest = Some((attestation.index, Stage::EvaluatingEvidence));
        let next = self.seconds_to_next();
        self.effects.push(PushEffect::AnswerAccepted(Arc::clone(&attestation), next));
        self.appraise(attestation);
    }

    fn not_stored(&mut self, ticket: Ticket) {
        let open = match &self.state.phase {
            PushPhase::Storing { ticket: awaited, open, .. } if *awaited == ticket => open.clone(),
            _ => return self.effects.push(PushEffect::DropStale),
        };
        // The evidence was not taken, so its challenge is not used up.
        self.state.phase = PushPhase::AwaitingEvidence(open);
        self.refuse(Refusal::Busy { retry_after: LEAST_RETRY });
    }

    fn resumed(&mut self, attestation: Arc<Attestation>) {
        if self.state.phase == PushPhase::Idle
            && self.state.trail.latest == Some((attestation.index, Stage::EvaluatingEvidence))
        {
            self.appraise(attestation);
        } else {
            self.effects.push(PushEffect::DropStale);
        }
    }

    fn appraise(&mut self, attestation: Arc<Attestation>) {
        let ticket = self.new_ticket();
        self.effects.push(PushEffect::Appraise(ticket, Arc::clone(&attestation)));
        self.state.phase = PushPhase::Appraising { ticket, attestation };
    }

    fn appraised(&mut self, ticket: Ticket, verdict: PushVerdict) {
        let attestation = match &self.state.phase {
            PushPhase::Appraising { ticket: awaited, attestation } if *awaited == ticket => Arc::clone(attestation),
            _ => return self.effects.push(PushEffect::DropStale),
        };
        self.state.phase = PushPhase::Idle;
        match verdict {
            PushVerdict::Passed { clock, ima, certified_entries } => {
                self.passed(&attestation, clock, ima, certified_entries);
            }
            PushVerdict::Failed { failures, reason, clock } => self.failed(&attestation, &failures, reason, clock),
            PushVerdict::Outdated => {
                self.state.trail.latest = None;
                self.state.evidence_received = None;
                self.effects.push(PushEffect::Discard(attestation.index));
            }
        }
    }

    /// Nothing is known of the evidence; the row keeps saying that it was taken and not judged, and the agent goes on with
    /// its next attestation.
    fn faulted(&mut self, ticket: Ticket) {
        match &self.state.phase {
            PushPhase::Appraising { ticket: awaited, .. } if *awaited == ticket => self.state.phase = PushPhase::Idle,
            _ => self.effects.push(PushEffect::DropStale),
        }
    }

    fn passed(&mut self, attestation: &Arc<Attestation>, clock: ClockInfo, ima: ImaState, certified_entries: u64) {
        let facts = &mut self.state.facts;
        facts.clock = clock;
        facts.ima = ima;
        facts.boot_time = attestation.boot_time;
        facts.attestation_count += 1;
        facts.last_successful_attestation = self.now.wall_seconds;
        if self.terms.settings.failure_recovery == FailureRecovery::Automatic {
            facts.consecutive_failures = 0;
        }
        if facts.consecutive_failures == 0 {
            // A later failure is a new event and announced again.
            facts.announced = None;
        }
        let trail = &mut self.state.trail;
        let mut prune = SmallVec::new();
        match trail.passed.take() {
            // The attestations that passed between the first since boot and the latest say nothing that these do not.
            Some(previous) if trail.before == Some(previous.boot_time) => prune.push(previous.index),
            Some(previous) => trail.before = Some(previous.boot_time),
            None => {}
        }
        trail.passed = Some(Milestone { index: attestation.index, boot_time: attestation.boot_time });
        self.conclude(attestation, Evaluation::Pass, Some(certified_entries), prune, None);
    }

    fn failed(
        &mut self,
        attestation: &Arc<Attestation>,
        failures: &Failures,
        reason: FailureReason,
        clock: Option<ClockInfo>,
    ) {
        let (failure, level) = self.terms.settings.severity.highest(failures);
        let facts = &mut self.state.facts;
        facts.consecutive_failures = facts.consecutive_failures.saturating_add(1);
        if let Some(clock) = clock {
            facts.clock = clock;
        }
        let notice = facts.announced.is_none_or(|announced| announced < level).then(|| {
            facts.announced = Some(level);
            facts.severity = Some(level);
            facts.last_event_id = Some(failure.event_id().into());
            Box::new(Notice { kind: NoticeKind::Revocation, failure: failure.clone(), severity: level })
        });
        let trail = &mut self.state.trail;
        trail.note_failure(attestation.index, reason, attestation.boot_time);
        let excess = trail.failed.len().saturating_sub(KEPT_FAILURES);
        let prune = trail.failed.drain(..excess).collect();
        self.conclude(attestation, Evaluation::Fail(reason), None, prune, notice);
    }

    fn conclude(
        &mut self,
        attestation: &Arc<Attestation>,
        evaluation: Evaluation,
        certified_entries: Option<u64>,
        prune: SmallVec<[AttestationIndex; 2]>,
        notice: Option<Box<Notice>>,
    ) {
        let mut judged = (**attestation).clone();
        judged.stage = Stage::Complete(evaluation);
        judged.verification_completed = Some(self.terms.wall);
        for item in judged.items.iter_mut().filter(|item| item.kind == EvidenceType::ImaLog) {
            item.certified_entries = certified_entries.map(|entries| i64::try_from(entries).unwrap_or(i64::MAX));
        }
        self.state.trail.latest = Some((judged.index, judged.stage));
        self.state.facts.last_received_quote = self.now.wall_seconds;
        self.state.presence = Presence::Heard;
        let conclusion = Conclusion { attestation: Arc::new(judged), prune, notice };
        self.effects.push(PushEffect::Conclude(Box::new(conclusion)));
        self.watch();
    }

    fn concluded(&mut self, index: AttestationIndex) {
        let is_pass = self.state.trail.passed.is_some_and(|passed| passed.index == index);
        if is_pass && self.terms.settings.token_extension == TokenExtension::OnPass {
            self.effects.push(PushEffect::ExtendToken);
        }
    }

    /// A running appraisal judges by a policy that is no longer the operator's: it is done again by the new one.
    fn policy_changed(&mut self) {
        if let PushPhase::Appraising { attestation, .. } = &self.state.phase {
            let attestation = Arc::clone(attestation);
            self.appraise(attestation);
        }
    }

    fn deadline_reached(&mut self) {
        match self.state.timeout {
            Some(at) if self.now.at < at => return self.set_deadline(at),
            Some(_) => {}
            None => return self.effects.push(PushEffect::ClearDeadline),
        }
        match self.state.phase {
            // Evidence is here; that it is not judged yet is not the agent's silence.
            PushPhase::Storing { .. } | PushPhase::Appraising { .. } => return self.watch(),
            PushPhase::Ended(_) => {
                self.state.timeout = None;
                return self.effects.push(PushEffect::ClearDeadline);
            }
            PushPhase::AwaitingEvidence(ref open) if open.expires <= self.now.at => self.state.phase = PushPhase::Idle,
            PushPhase::AwaitingEvidence(_) | PushPhase::Idle => {}
        }
        self.state.timeout = None;
        self.state.presence = Presence::Silent;
        self.effects.push(PushEffect::Persist);
        self.effects.push(PushEffect::NoteSilence);
        self.effects.push(PushEffect::ClearDeadline);
    }

    fn stop_requested(&mut self) {
        if self.state.phase == PushPhase::Ended(Ending::Deleted) {
            return;
        }
        self.end(Ending::Stopped);
        self.effects.push(PushEffect::StoreState(OperationalState::TenantFailed));
        self.effects.push(PushEffect::ClearDeadline);
    }

    /// The agent may attest again. What it failed at stays counted: nothing has made up for it yet.
    fn reactivate_requested(&mut self) {
        match self.state.phase {
            PushPhase::Ended(Ending::Deleted) => return,
            PushPhase::Ended(Ending::Failed | Ending::InvalidQuote | Ending::Stopped | Ending::Saved) => {
                self.state.phase = PushPhase::Idle;
                self.effects.push(PushEffect::StoreState(OperationalState::GetQuote));
            }
            PushPhase::Idle
            | PushPhase::AwaitingEvidence(_)
            | PushPhase::Storing { .. }
            | PushPhase::Appraising { .. } => {}
        }
        self.state.presence = Presence::Heard;
        self.effects.push(PushEffect::Persist);
        if self.state.facts.last_received_quote > 0 {
            self.watch();
        }
    }

    fn delete_requested(&mut self) {
        if self.state.phase == PushPhase::Ended(Ending::Deleted) {
            return;
        }
        self.end(Ending::Deleted);
        self.effects.push(PushEffect::DeleteRow);
        self.effects.push(PushEffect::ClearDeadline);
    }

    fn row_changed(&mut self, stored: Option<OperationalState>) {
        if self.state.phase == PushPhase::Ended(Ending::Deleted) {
            return;
        }
        let Some(stored) = stored else {
            self.end(Ending::Deleted);
            self.effects.push(PushEffect::ClearDeadline);
            return;
        };
        match stored.order() {
            Some(RowOrder::Delete) => self.delete_requested(),
            Some(RowOrder::Stop) => {
                self.end(Ending::Stopped);
                self.effects.push(PushEffect::ClearDeadline);
            }
            None => {}
        }
    }

    /// Ends attestation; an agent that waits for the answer to its evidence is refused.
    fn end(&mut self, ending: Ending) {
        let waits = matches!(self.state.phase, PushPhase::Storing { .. });
        self.state.phase = PushPhase::Ended(ending);
        self.state.timeout = None;
        if waits {
            self.refuse(Refusal::AttestationsDisabled);
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.effects.push(PushEffect::Refuse(refusal));
    }

    fn watch(&mut self) {
        let at = self.now.at.after(self.terms.settings.silence());
        self.state.timeout = Some(at);
        self.set_deadline(at);
    }

    fn set_deadline(&mut self, at: crate::time::Timestamp) {
        self.effects.push(PushEffect::SetDeadline(at, DeadlineReason::SilenceTimeout));
    }

    /// Whole seconds until the next attestation may be opened, rounded as Python does: half to even.
    fn seconds_to_next(&self) -> u32 {
        let Some(received) = self.state.evidence_received else { return 0 };
        let left = received.after(self.terms.settings.quote_interval).since(self.now.at);
        let (whole, millis) = (left.as_secs(), left.subsec_millis());
        let rounds_up = millis > 500 || (millis == 500 && whole % 2 == 1);
        u32::try_from(whole + u64::from(rounds_up)).unwrap_or(u32::MAX)
    }

    fn seconds_to_decision(&self) -> u32 {
        let received = self.state.evidence_received.unwrap_or(self.now.at);
        let left = received.after(self.terms.settings.verification_timeout).since(self.now.at).as_secs();
        u32::try_from(left).unwrap_or(u32::MAX).max(LEAST_RETRY)
    }

    fn new_ticket(&mut self) -> Ticket {
        self.state.ticket = self.state.ticket.next();
        self.state.ticket
    }
}
