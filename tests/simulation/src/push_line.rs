//! An agent that sends: its state machine, how its effects become events, and what its machine does.

use crate::evidence::{collected, judge_push};
use crate::invariants::{Cause, Facet, Violation};
use crate::network::Event;
use crate::store::{Receipt, Row, RowChange, Write};
use crate::world::{Line, Mutation, World, offer};
use keylime_engine::appraise::PushVerdict;
use keylime_engine::evidence::attestation::{Attestation, AttestationIndex, WallMicros};
use keylime_engine::lifecycle::{
    AgentKind, Presence, PushEffect, PushInput, PushPhase, PushState, PushTerms, Refusal, Submission, Ticket,
    push_transition,
};
use serde_json::Value;
use std::sync::Arc;

pub(crate) fn facet(state: &PushState) -> Facet {
    let has_ended = matches!(state.phase, PushPhase::Ended(_));
    Facet {
        attestations: state.facts.attestation_count,
        failures: state.facts.consecutive_failures,
        is_failed: state.facts.consecutive_failures > 0,
        next_entry: state.facts.ima.next_entry,
        is_attesting: !has_ended && state.presence == Presence::Heard && state.facts.last_received_quote > 0,
    }
}

impl World {
    pub(crate) fn push_step(&mut self, agent: usize, input: PushInput<'_>, cause: Cause) -> Result<(), Violation> {
        self.count_input();
        let Line::Push(state) = &self.agents[agent].line else { return Ok(()) };
        let state = PushState::clone(state);
        let before = facet(&state);
        let (now, entropy) = (self.now(), self.entropy());
        let wall = WallMicros(now.wall_seconds * 1_000_000);
        let terms = PushTerms { settings: &self.push_settings, kind: AgentKind::Push, wall };
        let (state, effects) = push_transition(state, input, terms, now, &entropy);
        let after = facet(&state);
        self.agents[agent].line = Line::Push(Box::new(state));
        for effect in effects {
            self.push_effect(agent, effect)?;
        }
        let has_deadline = self.agents[agent].deadline.is_some();
        self.ledger.stepped(agent, before, after, cause, has_deadline)
    }

    fn push_effect(&mut self, agent: usize, effect: PushEffect) -> Result<(), Violation> {
        match effect {
            PushEffect::AnswerOpened(attestation) => {
                let Some(parameters) = attestation.quote_parameters() else { return Ok(()) };
                let challenge = parameters.challenge.as_bytes().to_vec();
                self.ledger.challenged(agent, &challenge)?;
                let (index, offset) = (attestation.index, attestation.ima_offset());
                self.send(Event::Opened { agent, index, challenge, offset });
            }
            PushEffect::AnswerAccepted(attestation, seconds) => {
                self.ledger.acknowledged(&self.store, agent, attestation.index)?;
                let delay = u64::from(seconds) * 1000 + self.random.below(500);
                self.wake(agent, delay);
            }
            PushEffect::Refuse(refusal) => self.refused(agent, &refusal),
            PushEffect::StoreEvidence(ticket, attestation, _) => {
                let receipt = Receipt::Evidence(ticket);
                let write = Write {
                    agent,
                    row: RowChange::None,
                    attestation: Some(attestation),
                    prune: Vec::new(),
                    notice: None,
                    receipt,
                };
                if self.store.away {
                    return self.push_step(agent, PushInput::NotStored(ticket), Cause::Other);
                }
                self.write(write);
            }
            PushEffect::Appraise(ticket, attestation) => self.appraise_pushed(agent, ticket, &attestation)?,
            PushEffect::Conclude(conclusion) => {
                let index = conclusion.attestation.index;
                if self.mutation == Mutation::VerdictBeforeCommit
                    && conclusion.attestation.stage.evaluation_name() == "pass"
                {
                    self.ledger.extended(&self.store, agent, index)?;
                }
                let row = self.push_row(agent);
                let notice = conclusion.notice.as_ref().map(|_| self.new_notice(agent));
                let receipt = Receipt::Verdict(index);
                let prune = conclusion.prune.to_vec();
                let attestation = Some(conclusion.attestation);
                self.write_verdict(Write { agent, row, attestation, prune, notice, receipt })?;
            }
            PushEffect::ExtendToken => {
                if let Some(index) = self.agents[agent].concluded {
                    self.ledger.extended(&self.store, agent, index)?;
                }
            }
            PushEffect::Discard(index) => {
                let receipt = Receipt::None;
                self.write(Write {
                    agent,
                    row: RowChange::None,
                    attestation: None,
                    prune: vec![index],
                    notice: None,
                    receipt,
                });
            }
            PushEffect::DeleteRow => self.delete_row(agent),
            PushEffect::Persist | PushEffect::StoreState(_) => {
                let row = self.push_row(agent);
                let receipt = Receipt::None;
                self.write(Write { agent, row, attestation: None, prune: Vec::new(), notice: None, receipt });
            }
            PushEffect::SetDeadline(at, _) => self.set_deadline(agent, at.0),
            PushEffect::ClearDeadline => self.agents[agent].deadline = None,
            PushEffect::NoteSilence | PushEffect::DropStale => {}
        }
        Ok(())
    }

    fn push_row(&self, agent: usize) -> RowChange {
        match &self.agents[agent].line {
            Line::Push(state) => {
                RowChange::Put(Row::Push { facts: Box::new(state.facts.clone()), presence: state.presence })
            }
            Line::Pull(_) => RowChange::None,
        }
    }

    fn appraise_pushed(
        &mut self,
        agent: usize,
        ticket: Ticket,
        attestation: &Arc<Attestation>,
    ) -> Result<(), Violation> {
        let Line::Push(state) = &self.agents[agent].line else { return Ok(()) };
        let verdict = judge_push(attestation, &state.facts.ima, &state.facts.clock);
        // A crash of the appraiser says nothing about the agent.
        let verdict = (!self.random.one_in(200)).then(|| Box::new(verdict));
        let policy = self.agents[agent].policy;
        let delay = 1 + self.random.below(40);
        self.after(delay, Event::PushJudged { agent, ticket, verdict, policy });
        Ok(())
    }

    pub(crate) fn push_judged(
        &mut self,
        agent: usize,
        ticket: Ticket,
        verdict: Option<Box<PushVerdict>>,
        policy: u64,
    ) -> Result<(), Violation> {
        let Some(verdict) = verdict else {
            return self.push_step(agent, PushInput::Faulted(ticket), Cause::Other);
        };
        let cause = match &*verdict {
            PushVerdict::Passed { clock, .. } => {
                Cause::Pass { policy, in_force: self.agents[agent].policy, clock: *clock }
            }
            PushVerdict::Failed { .. } => Cause::Fail,
            PushVerdict::Outdated => Cause::Other,
        };
        self.push_step(agent, PushInput::Appraised(ticket, verdict), cause)
    }

    fn refused(&mut self, agent: usize, refusal: &Refusal) {
        let seconds = match refusal {
            Refusal::FailedRetry { retry_after }
            | Refusal::VerificationInProgress { retry_after }
            | Refusal::Premature { retry_after }
            | Refusal::Busy { retry_after } => u64::from(*retry_after),
            Refusal::AttestationsDisabled
            | Refusal::Invalid(_)
            | Refusal::Conflict
            | Refusal::NoAttestation
            | Refusal::NotLatest
            | Refusal::EvidenceImmutable(_)
            | Refusal::ChallengesExpired(..)
            | Refusal::NoEvidence => 2,
        };
        let delay = seconds * 1000 + self.random.below(1000);
        self.wake(agent, delay);
    }

    /// The agent goes on, unless something else makes it go on earlier.
    pub(crate) fn wake(&mut self, agent: usize, delay: u64) {
        self.agents[agent].round += 1;
        let round = self.agents[agent].round;
        self.after(delay, Event::AgentWakes { agent, round });
    }

    pub(crate) fn agent_wakes(&mut self, agent: usize, round: u64) {
        if self.agents[agent].round != round {
            return;
        }
        self.send(Event::Opening { agent });
        // Without an answer it tries again.
        self.wake(agent, 8000);
    }

    pub(crate) fn opening(&mut self, agent: usize) -> Result<(), Violation> {
        let machine = &self.agents[agent].machine;
        let offer = Ok(offer(machine.boot, machine.entries));
        let enrolment = Arc::clone(&self.enrolment);
        self.push_step(agent, PushInput::Open(&offer, &enrolment.terms()), Cause::Other)
    }

    /// The machine answers its challenge, honestly or not.
    pub(crate) fn opened(&mut self, agent: usize, index: AttestationIndex, challenge: &[u8], offset: u64) {
        let is_hostile = self.random.one_in(25);
        let replays = self.random.one_in(2);
        let subject_data = Arc::clone(&self.subject_data);
        let machine = &mut self.agents[agent].machine;
        let mut clock = machine.tick();
        if is_hostile && !replays {
            clock = machine.stale_clock();
        }
        let entries = (offset.min(machine.entries), machine.entries);
        let evidence = collected(challenge, &clock, &subject_data, entries, machine.evil);
        let sent = match self.agents[agent].last_evidence.replace(evidence.clone()) {
            Some(old) if is_hostile && replays => old,
            Some(_) | None => evidence,
        };
        self.send(Event::Sent { agent, index, evidence: sent });
    }

    pub(crate) fn sent(&mut self, agent: usize, index: AttestationIndex, evidence: &Value) -> Result<(), Violation> {
        let index = index.to_string();
        let submission = Submission { index: Some(&index), evidence: Some(Some(evidence)) };
        self.push_step(agent, PushInput::Submit(submission), Cause::Other)
    }
}
