//! The state machine of pull attestation as one pure function (`verifier-state-machine.md` §2, §4, §6).
//!
//! Deliberate differences from the reference, all from the same section's recommendations: a tolerated failure is followed
//! by the next quote after `quote_interval` and by state 3 when that is good; an agent that does not answer a version
//! request is tried again like any unreachable agent; reactivation of a stopped agent takes effect.

use super::api_version::renegotiate;
use super::deadline::{DeadlineReason, next_attestation};
use super::effect::{Durability, Effect, Effects, Notice, NoticeKind};
use super::entropy::Entropy;
use super::input::{Extent, Input, QuoteReply, ShareReply, Verdict, VersionReply};
use super::operational_state::{OperationalState, RowOrder};
use super::retry_backoff::RetryBackoff;
use super::state::{Ending, KeyRequest, KeyShare, Phase, PullState, QuoteAlgorithms, Resume, Ticket};
use crate::ima::ImaState;
use crate::time::{Now, Timestamp};
use crate::tpm::clock_info::ClockInfo;
use crate::verdict::{Failure, Failures, InternalFault, SeverityPolicy};
use std::sync::Arc;
use std::time::Duration;

/// The operator's settings of pull attestation.
#[derive(Debug, Clone)]
pub struct PullSettings {
    /// `quote_interval`.
    pub quote_interval: Duration,
    /// How long a request may take in all.
    pub request_timeout: Duration,
    /// `retry_interval` and `exponential_backoff`.
    pub backoff: RetryBackoff,
    /// `max_retries`: requests after the first before an agent counts as unreachable.
    pub max_retries: u32,
    /// `severity_labels` and `severity_policy`.
    pub severity: SeverityPolicy,
}

/// What the transition has to know of an agent besides its state.
#[derive(Debug, Clone, Copy)]
pub struct PullTerms<'a> {
    /// The operator's settings.
    pub settings: &'a PullSettings,
    /// Whether the agent was enrolled with a key share.
    pub has_share: bool,
}

/// Carries a state over one input.
#[must_use]
pub fn transition(
    state: PullState,
    input: Input,
    terms: PullTerms<'_>,
    now: Now,
    entropy: &Entropy,
) -> (PullState, Effects) {
    let mut step = Step { state, effects: Effects::new(), terms, now, entropy };
    step.apply(input);
    (step.state, step.effects)
}

struct Step<'a> {
    state: PullState,
    effects: Effects,
    terms: PullTerms<'a>,
    now: Now,
    entropy: &'a Entropy,
}

impl Step<'_> {
    fn apply(&mut self, input: Input) {
        match input {
            Input::DeadlineReached => self.deadline_reached(),
            Input::Deferred(delay) => self.deferred(delay),
            Input::QuoteReplied(ticket, reply) => self.quote_replied(ticket, reply),
            Input::Appraised(ticket, verdict) => self.appraised(ticket, *verdict),
            Input::VersionReplied(ticket, reply) => self.version_replied(ticket, reply),
            Input::ShareReplied(ticket, reply) => self.share_replied(ticket, reply),
            Input::PolicyChanged => self.policy_changed(),
            Input::StopRequested => self.stop_requested(),
            Input::ReactivateRequested => self.reactivate_requested(),
            Input::DeleteRequested => self.delete_requested(),
            Input::Unusable(reason) => self.unusable(reason),
            Input::RowChanged(stored) => self.row_changed(stored),
        }
    }

    fn deadline_reached(&mut self) {
        match self.state.phase {
            Phase::Resting if self.now.at < self.state.due => {
                self.set_deadline(self.state.due, DeadlineReason::NextAttestation);
            }
            Phase::Resting => self.request_evidence(),
            Phase::BackingOff { then: Resume::Quote } => self.request_evidence(),
            Phase::BackingOff { then: Resume::Share } => self.deliver_share(),
            Phase::AwaitingEvidence { .. } => self.unreachable(Resume::Quote),
            Phase::AwaitingVersion { then, .. } => self.unreachable(then),
            Phase::DeliveringShare { .. } => self.unreachable(Resume::Share),
            // The appraisal is the verifier's own work: its length says nothing about the agent.
            Phase::Appraising { .. } => self.watch_request(),
            Phase::Terminating => self.delete_row(),
            Phase::Ended(_) => self.effects.push(Effect::StopAttesting),
        }
    }

    fn deferred(&mut self, delay: Duration) {
        let at = self.now.at.after(delay);
        match self.state.phase {
            Phase::Resting => self.set_deadline(at, DeadlineReason::NextAttestation),
            Phase::BackingOff { .. } => self.set_deadline(at, DeadlineReason::RetryBackoff),
            // Evidence that cannot be judged now is given up; later evidence says the same and more.
            Phase::Appraising { .. } => {
                self.state.ticket = self.state.ticket.next();
                self.rest_until(at);
            }
            Phase::DeliveringShare { .. } => {
                self.state.phase = Phase::BackingOff { then: Resume::Share };
                self.set_deadline(at, DeadlineReason::RetryBackoff);
            }
            Phase::AwaitingEvidence { .. } | Phase::AwaitingVersion { .. } | Phase::Terminating => self.watch_request(),
            Phase::Ended(_) => self.effects.push(Effect::StopAttesting),
        }
    }

    fn quote_replied(&mut self, ticket: Ticket, reply: QuoteReply) {
        let nonce = match self.state.phase {
            Phase::AwaitingEvidence { ticket: awaited, nonce } if awaited == ticket => nonce,
            _ => return self.answer_not_awaited(ticket),
        };
        match reply {
            QuoteReply::Evidence => {
                self.state.phase = Phase::Appraising { ticket, nonce };
                self.effects.push(Effect::Appraise { ticket, nonce });
            }
            QuoteReply::Unreachable => self.unreachable(Resume::Quote),
            QuoteReply::VersionUnsupported => self.request_version(Resume::Quote),
            QuoteReply::Refused(status) => self.fail(InternalFault::NoQuote(status), None),
            QuoteReply::Unreadable(reason) => self.fail(InternalFault::Exception(reason), None),
        }
    }

    fn appraised(&mut self, ticket: Ticket, verdict: Verdict) {
        match self.state.phase {
            Phase::Appraising { ticket: awaited, .. } if awaited == ticket => {}
            _ => return self.answer_not_awaited(ticket),
        }
        match verdict {
            Verdict::Passed { clock, ima, payload_key, algorithms } => {
                self.passed(clock, ima, payload_key, algorithms);
            }
            Verdict::Failed { failures, ima, extent } => self.evidence_failed(&failures, ima, extent),
            Verdict::Unreadable(reason) => self.fail(InternalFault::Exception(reason), None),
            Verdict::BoottimeChanged { ima } => {
                self.state.facts.ima = ima;
                self.state.retries = 0;
                self.persist(Durability::Lazy, None);
                // Nothing was judged, so nothing is waited for: the whole list is asked for at once.
                self.rest_until(self.now.at);
            }
        }
    }

    fn passed(&mut self, clock: ClockInfo, ima: ImaState, payload_key: Option<Arc<str>>, algorithms: QuoteAlgorithms) {
        let facts = &mut self.state.facts;
        facts.clock = clock;
        facts.ima = ima;
        facts.attestation_count += 1;
        facts.last_received_quote = self.now.wall_seconds;
        facts.last_successful_attestation = self.now.wall_seconds;
        if *facts.algorithms != algorithms {
            facts.algorithms = Arc::new(algorithms);
        }
        if let Some(key) = payload_key.filter(|key| facts.payload_key.as_ref() != Some(key)) {
            facts.payload_key = Some(key);
            self.state.share = KeyShare::Due;
        }
        self.state.retries = 0;
        self.state.key_request = KeyRequest::Known;
        if self.state.shown == OperationalState::InvalidQuote {
            // A later failure is a new event and announced again.
            self.state.announced = None;
        }
        if self.state.share == KeyShare::Due && self.terms.has_share {
            self.show(OperationalState::ProvideV);
            return self.deliver_share();
        }
        self.state.share = KeyShare::Settled;
        self.show(OperationalState::GetQuote);
        self.rest();
    }

    fn evidence_failed(&mut self, failures: &Failures, ima: ImaState, extent: Extent) {
        let severity = &self.terms.settings.severity;
        let (failure, level) = severity.highest(failures);
        let ends = severity.stops_attestation(failures);
        let is_new = self.state.announced.is_none_or(|announced| announced < level);
        self.state.facts.ima = ima;
        if let Extent::Judged(algorithms) = extent {
            self.state.facts.last_received_quote = self.now.wall_seconds;
            if *self.state.facts.algorithms != algorithms {
                self.state.facts.algorithms = Arc::new(algorithms);
            }
        }
        self.state.retries = 0;
        self.state.shown = OperationalState::InvalidQuote;
        let notice = is_new.then(|| {
            self.state.announced = Some(level);
            self.state.facts.severity = Some(level);
            self.state.facts.last_event_id = Some(failure.event_id().into());
            Notice { kind: NoticeKind::Revocation, failure: failure.clone(), severity: level }
        });
        if ends {
            self.state.phase = Phase::Ended(Ending::InvalidQuote);
            self.persist(Durability::Durable, notice);
            self.effects.push(Effect::StopAttesting);
            return;
        }
        self.persist(if notice.is_some() { Durability::Durable } else { Durability::Lazy }, notice);
        if self.state.facts.payload_key.is_none() {
            self.state.key_request = KeyRequest::Ask;
        }
        self.rest();
    }

    fn version_replied(&mut self, ticket: Ticket, reply: VersionReply) {
        let then = match self.state.phase {
            Phase::AwaitingVersion { ticket: awaited, then } if awaited == ticket => then,
            _ => return self.answer_not_awaited(ticket),
        };
        let offers = match reply {
            VersionReply::Offers(offers) => offers,
            VersionReply::Unreachable => return self.unreachable(then),
            VersionReply::Refused(reason) => return self.fail(InternalFault::VersionNotSupported(reason), None),
        };
        let facts = &mut self.state.facts;
        match renegotiate(&offers, facts.version, facts.attestation_count) {
            Ok(version) => {
                facts.version = version;
                self.persist(Durability::Soon, None);
                // Keylime lets a renegotiation cost one retry and its pause, so that it cannot loop for ever.
                self.unreachable(then);
            }
            Err(error) => self.fail(InternalFault::VersionNotSupported(error.to_string()), None),
        }
    }

    fn share_replied(&mut self, ticket: Ticket, reply: ShareReply) {
        match self.state.phase {
            Phase::DeliveringShare { ticket: awaited } if awaited == ticket => {}
            _ => return self.answer_not_awaited(ticket),
        }
        match reply {
            ShareReply::Accepted => {
                self.state.retries = 0;
                self.state.share = KeyShare::Settled;
                self.show(OperationalState::GetQuote);
                self.rest();
            }
            ShareReply::Unreachable => self.unreachable(Resume::Share),
            ShareReply::VersionUnsupported => self.request_version(Resume::Share),
            ShareReply::Refused(status) => self.fail(InternalFault::NoV(status), None),
            ShareReply::Unusable(reason) => self.fail(InternalFault::Exception(reason), None),
        }
    }

    /// What was asked for, and what is being judged, follows terms that are no longer the operator's: it is given up and the
    /// agent asked anew.
    fn policy_changed(&mut self) {
        if let Phase::AwaitingEvidence { .. } | Phase::Appraising { .. } = self.state.phase {
            self.state.ticket = self.state.ticket.next();
            self.rest_until(self.now.at);
        }
    }

    fn stop_requested(&mut self) {
        if matches!(self.state.phase, Phase::Terminating | Phase::Ended(Ending::Deleted)) {
            return;
        }
        self.state.phase = Phase::Ended(Ending::Stopped);
        self.state.shown = OperationalState::TenantFailed;
        self.effects.push(Effect::StoreState(OperationalState::TenantFailed));
        self.effects.push(Effect::StopAttesting);
    }

    fn reactivate_requested(&mut self) {
        match self.state.phase {
            Phase::Ended(Ending::Deleted) | Phase::Terminating => {}
            Phase::Ended(Ending::Failed | Ending::InvalidQuote | Ending::Stopped | Ending::Saved) => {
                let ticket = self.state.ticket.next();
                let facts = self.state.facts.clone();
                self.state = PullState { ticket, ..PullState::starting(facts, self.now.at) };
                self.effects.push(Effect::StoreState(OperationalState::Start));
                self.rest_until(self.now.at);
            }
            // Attestation is going on; a second loop, as the reference would start, serves nobody.
            Phase::Resting
            | Phase::AwaitingEvidence { .. }
            | Phase::Appraising { .. }
            | Phase::AwaitingVersion { .. }
            | Phase::DeliveringShare { .. }
            | Phase::BackingOff { .. } => {}
        }
    }

    fn delete_requested(&mut self) {
        match self.state.phase {
            Phase::Ended(Ending::Deleted) | Phase::Terminating => {}
            Phase::Resting | Phase::BackingOff { .. } | Phase::Ended(_) => self.delete_row(),
            Phase::AwaitingEvidence { ticket, .. }
            | Phase::Appraising { ticket, .. }
            | Phase::AwaitingVersion { ticket, .. }
            | Phase::DeliveringShare { ticket } => {
                self.state.phase = Phase::Terminating;
                self.state.ticket = ticket;
                self.state.shown = OperationalState::Terminated;
                self.effects.push(Effect::StoreState(OperationalState::Terminated));
            }
        }
    }

    fn unusable(&mut self, reason: String) {
        match self.state.phase {
            Phase::Terminating | Phase::Ended(_) => {}
            Phase::Resting
            | Phase::AwaitingEvidence { .. }
            | Phase::Appraising { .. }
            | Phase::AwaitingVersion { .. }
            | Phase::DeliveringShare { .. }
            | Phase::BackingOff { .. } => self.fail(InternalFault::Exception(reason), None),
        }
    }

    /// Somebody else changed the row: Keylime finishes a deletion it finds and leaves a stopped agent alone.
    fn row_changed(&mut self, stored: Option<OperationalState>) {
        if self.state.phase == Phase::Ended(Ending::Deleted) {
            return;
        }
        let Some(stored) = stored else {
            self.state.phase = Phase::Ended(Ending::Deleted);
            self.effects.push(Effect::StopAttesting);
            return;
        };
        match stored.order() {
            Some(RowOrder::Delete) => self.delete_row(),
            Some(RowOrder::Stop) => {
                self.state.phase = Phase::Ended(Ending::Stopped);
                self.state.shown = OperationalState::TenantFailed;
                self.effects.push(Effect::StopAttesting);
            }
            None => {}
        }
    }

    fn answer_not_awaited(&mut self, ticket: Ticket) {
        if self.state.phase == Phase::Terminating && self.state.ticket == ticket {
            return self.delete_row();
        }
        self.effects.push(Effect::DropStale);
    }

    fn request_evidence(&mut self) {
        let ticket = self.new_ticket();
        let nonce = self.entropy.quote_nonce();
        self.state.phase = Phase::AwaitingEvidence { ticket, nonce };
        self.effects.push(Effect::RequestEvidence {
            ticket,
            nonce,
            key: self.state.key_request,
            ima_entry: self.state.facts.ima.next_entry,
            version: self.state.facts.version,
        });
        self.watch_request();
    }

    fn request_version(&mut self, then: Resume) {
        let ticket = self.new_ticket();
        self.state.phase = Phase::AwaitingVersion { ticket, then };
        self.effects.push(Effect::RequestVersion { ticket });
        self.watch_request();
    }

    fn deliver_share(&mut self) {
        let ticket = self.new_ticket();
        self.state.phase = Phase::DeliveringShare { ticket };
        self.effects.push(Effect::DeliverShare { ticket, version: self.state.facts.version });
        self.watch_request();
    }

    fn unreachable(&mut self, then: Resume) {
        let settings = self.terms.settings;
        if self.state.retries >= settings.max_retries {
            return match then {
                Resume::Quote => {
                    let attested = self.state.facts.attestation_count > 0;
                    self.fail(InternalFault::NotReachable, attested.then_some(NoticeKind::CommunicationError));
                }
                Resume::Share => self.fail(InternalFault::NotReachableV, Some(NoticeKind::CommunicationError)),
            };
        }
        self.state.retries += 1;
        self.state.phase = Phase::BackingOff { then };
        if then == Resume::Quote {
            self.state.key_request = KeyRequest::Ask;
        }
        let delay = settings.backoff.jittered_delay(self.state.retries, self.entropy.jitter());
        self.set_deadline(self.now.at.after(delay), DeadlineReason::RetryBackoff);
    }

    /// Ends attestation for a reason other than the evidence (state 7).
    fn fail(&mut self, fault: InternalFault, notice: Option<NoticeKind>) {
        let failure = Failure::Internal(fault);
        let severity = self.terms.settings.severity.severity_of(&failure);
        self.state.announced = Some(severity);
        self.state.facts.severity = Some(severity);
        self.state.facts.last_event_id = Some(failure.event_id().into());
        self.state.shown = OperationalState::Failed;
        self.state.phase = Phase::Ended(Ending::Failed);
        self.persist(Durability::Durable, notice.map(|kind| Notice { kind, failure, severity }));
        self.effects.push(Effect::StopAttesting);
    }

    fn delete_row(&mut self) {
        self.state.phase = Phase::Ended(Ending::Deleted);
        self.state.shown = OperationalState::Terminated;
        self.effects.push(Effect::DeleteRow);
        self.effects.push(Effect::StopAttesting);
    }

    fn show(&mut self, shown: OperationalState) {
        let durability = if self.state.shown == shown { Durability::Lazy } else { Durability::Soon };
        self.state.shown = shown;
        self.persist(durability, None);
    }

    fn persist(&mut self, durability: Durability, notice: Option<Notice>) {
        self.effects.push(Effect::Persist { durability, notice: notice.map(Box::new) });
    }

    fn rest(&mut self) {
        self.rest_until(next_attestation(self.state.due, self.now.at, self.terms.settings.quote_interval));
    }

    fn rest_until(&mut self, due: Timestamp) {
        self.state.phase = Phase::Resting;
        self.state.due = due;
        self.set_deadline(due, DeadlineReason::NextAttestation);
    }

    /// A reply that never comes must not keep an agent from being looked at; the transport gives up earlier by itself.
    fn watch_request(&mut self) {
        let at = self.now.at.after(self.terms.settings.request_timeout + REPLY_GRACE);
        self.set_deadline(at, DeadlineReason::ReplyTimeout);
    }

    fn set_deadline(&mut self, at: Timestamp, reason: DeadlineReason) {
        self.effects.push(Effect::SetDeadline { at, reason });
    }

    fn new_ticket(&mut self) -> Ticket {
        self.state.ticket = self.state.ticket.next();
        self.state.ticket
    }
}

/// How much longer than the transport the lifecycle waits for an answer.
const REPLY_GRACE: Duration = Duration::from_secs(5);
